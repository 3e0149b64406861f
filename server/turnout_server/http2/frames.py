"""The frames of RFC 9113, section 6, as bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from turnout_server.http2.codes import ConnectionFailure, ErrorCode

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

HEADER = struct.Struct(">LBL")
"""Length (24 bits) and type (8 bits); flags; stream (31 bits, and one to be ignored)."""
HEADER_SIZE = 9
MAX_STREAM_ID = 2**31 - 1
MAX_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_SIZE = 16_384

_WORD = struct.Struct(">L")
_TWO_WORDS = struct.Struct(">LL")
_SETTING = struct.Struct(">HL")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return HEADER.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*one) for one in values))


def settings_in(payload: bytes) -> list[tuple[int, int]]:
    """Return what a SETTINGS frame says.

    Raises:
        ConnectionFailure: it is not a whole number of settings.
    """
    if len(payload) % _SETTING.size:
        raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
    return list(_SETTING.iter_unpack(payload))


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    """Return a RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, _WORD.pack(code))


def window_update(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, _WORD.pack(increment))


def goaway(last_stream: int, code: ErrorCode, text: str = "") -> bytes:
    """Return a GOAWAY frame; *text* is for whoever debugs the peer."""
    return frame(GOAWAY, 0, 0, _TWO_WORDS.pack(last_stream, code) + text.encode("ascii", "replace"))


def header_block(stream: int, block: bytes, end_stream: bool, frame_size: int) -> bytes:
    """Return a HEADERS frame, and as many CONTINUATION frames as *block* needs."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= frame_size:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    pieces = [block[at : at + frame_size] for at in range(0, len(block), frame_size)]
    first, last = frame(HEADERS, flags, stream, pieces[0]), frame(CONTINUATION, END_HEADERS, stream, pieces[-1])
    return b"".join((first, *(frame(CONTINUATION, 0, stream, piece) for piece in pieces[1:-1]), last))


def word(payload: bytes, what: str) -> int:
    """Return the one number of RST_STREAM and WINDOW_UPDATE.

    Raises:
        ConnectionFailure: the frame has another size.
    """
    if len(payload) != _WORD.size:
        raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, f"{what} of a wrong size")
    (value,) = _WORD.unpack(payload)
    return int(value)


def unpadded(payload: bytes) -> bytes:
    """Return what is between the padding's length and the padding (sections 6.1 and 6.2).

    Raises:
        ConnectionFailure: the padding is as long as the frame, or longer.
    """
    if not payload or payload[0] >= len(payload):
        raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def without_priority(payload: bytes) -> bytes:
    """Return a HEADERS frame's block without the priority that stands before it, which nobody uses any more.

    Raises:
        ConnectionFailure: there is no room for a priority.
    """
    if len(payload) < 5:
        raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
    return payload[5:]
