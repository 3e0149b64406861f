"""`turnout.v1`, our own API."""
