"""Overload: what becomes of callers when more is asked of a model than it can do, and of its neighbours.

`results` does the arithmetic, `report` and `plots` show it, `probe` looks at refusals, and `command` ties them
together.
"""
