"""Which target a request gets, and why. Pure: no I/O, no clock, no randomness."""
