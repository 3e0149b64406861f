"""Packed numbers, as protobuf has them on the wire: an array's bytes go into a message without a look at each value."""

from __future__ import annotations

import sys
from typing import Any

VALUES_TAG = 0x0A
"""Field 1, length-delimited: `values` of every message that has nothing else."""


def is_little(given: object, *dtypes: str) -> bool:
    """Say whether *given* is an array of one of *dtypes* (`<f4`), whose bytes are as they travel.

    A masked array's are not: where a value is missing they have another one.
    """
    is_array = hasattr(given, "tobytes") and not hasattr(given, "mask")
    return is_array and getattr(getattr(given, "dtype", None), "str", "") in dtypes


def field(tag: int, raw: bytes) -> bytes:
    """Return a length-delimited field whose number is under 16."""
    head, size = bytearray((tag,)), len(raw)
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*head, size)) + raw


def body(packed: Any, width: int, count: int) -> bytes:
    """Return the bytes of the *count* values, *width* bytes each and little-endian, of a message that has only them."""
    raw: bytes = packed.SerializeToString()
    return raw[-width * count :] if count else b""


NATIVE = sys.byteorder == "little"
"""Whether this machine's own numbers look like those on the wire."""
