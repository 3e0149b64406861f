"""Strings in HPACK's Huffman code (RFC 7541, section 5.2 and appendix B), a byte at a time.

`hpack`'s own decoder takes half a byte at a time. Two of its steps make one of ours; they are put together when they
are first needed. That halves the time, and what unique values (trace ids, units) cost is mostly this.
"""

from __future__ import annotations

from hpack.huffman_table import HUFFMAN_COMPLETE, HUFFMAN_EMIT_SYMBOL, HUFFMAN_FAIL, HUFFMAN_TABLE

_Step = tuple[int, bytes]
"""The state after a byte, and what that byte completes."""

_FAILED = -1
_START = 0
_rows: dict[int, list[_Step]] = {}
_may_end: dict[int, bool] = {_START: True}


def decode(coded: bytes) -> bytes | None:
    """Return the string; None when *coded* is not valid, or ends in the middle of a character."""
    state = _START
    pieces: list[bytes] = []
    for byte in coded:
        row = _rows.get(state)
        if row is None:
            row = _rows[state] = [_step(state, value) for value in range(256)]
        state, emitted = row[byte]
        pieces.append(emitted)
        if state < 0:
            return None
    return b"".join(pieces) if _may_end[state] else None


def _step(state: int, byte: int) -> _Step:
    emitted = bytearray()
    flags = 0
    for nibble in (byte >> 4, byte & 0xF):
        state, flags, symbol = HUFFMAN_TABLE[state * 16 + nibble]
        if flags & HUFFMAN_FAIL:
            return _FAILED, b""
        if flags & HUFFMAN_EMIT_SYMBOL:
            emitted.append(symbol)
    # Whether a string may end in a state is the state's own property: it depends on the bits since the last symbol.
    _may_end[state] = bool(flags & HUFFMAN_COMPLETE)
    return state, bytes(emitted)
