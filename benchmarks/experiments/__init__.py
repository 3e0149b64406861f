"""Experiments: how often whoever looks after every batch is misled, and how long it takes to find what is there.

`peeking` simulates, `trials` asks, `report` and `plots` show it, and `command` ties them together.
"""
