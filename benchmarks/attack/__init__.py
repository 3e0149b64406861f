"""Attacks on a gateway by what its protocol allows, with a well-behaved neighbour beside them."""
