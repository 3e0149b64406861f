"""Reload: what a neighbour's callers notice when a large model gets a new version.

`rounds` does one reload at a time, `results` does the arithmetic, `report` and `plots` show it, and `command` ties them
together.
"""
