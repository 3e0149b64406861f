"""How a request is served, from its name to its answer; knows no transport."""
