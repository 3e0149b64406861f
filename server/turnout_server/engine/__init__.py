"""Drives the native data plane: the contract's Python side."""
