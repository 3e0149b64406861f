"""What an experiment's numbers say: arithmetic over sufficient statistics. Pure: no I/O, no clock, no randomness."""
