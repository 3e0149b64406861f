"""Fuzzers: what reads bytes from a caller or a disk gets bytes that nobody would send. docs/fuzzing.md says how."""
