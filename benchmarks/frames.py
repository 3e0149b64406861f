"""The frames of HTTP/2 (RFC 9113, section 6) as bytes, for generators that must be quick and tests that must be rude.

What no library would send can be written with these too: nothing is checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first."""

DATA = 0x0
HEADERS = 0x1
PRIORITY = 0x2
RST_STREAM = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9

ACK = 0x1
END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6

HEADER = struct.Struct(">LBL")
"""Length (24 bits) and type (8 bits); flags; stream (31 bits, and one to be ignored)."""
MAX_STREAM_ID = 2**31 - 1
MAX_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_SIZE = 16_384

_WORD = struct.Struct(">L")
_SETTING = struct.Struct(">HL")


class Frame(NamedTuple):
    """One frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def number(self) -> int:
        """The number that its payload begins with, as of RST_STREAM and WINDOW_UPDATE."""
        return word(self.payload)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return HEADER.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*one) for one in values))


def settings_in(payload: bytes) -> list[tuple[int, int]]:
    """Return what a SETTINGS frame says."""
    return list(_SETTING.iter_unpack(payload))


def rst_stream(stream: int, code: int) -> bytes:
    """Return a RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, _WORD.pack(code))


def window_update(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, _WORD.pack(increment))


def word(payload: bytes) -> int:
    """Return the number that *payload* begins with."""
    (value,) = _WORD.unpack_from(payload)
    return int(value)


def whole(data: bytes) -> Iterator[tuple[Frame, int]]:
    """Yield the frames that *data* has whole, and where each ends."""
    at = 0
    while len(data) - at >= HEADER.size:
        size_and_kind, flags, stream = HEADER.unpack_from(data, at)
        begin = at + HEADER.size
        at = begin + (size_and_kind >> 8)
        if at > len(data):
            return
        yield Frame(size_and_kind & 0xFF, flags, stream, data[begin:at]), at
