"""Typed requests <-> named arrays, a module a task. Pure: NumPy only."""
