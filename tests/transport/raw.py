"""HTTP/2 by hand, for clients that do what no library does."""

from __future__ import annotations

import hpack

from benchmarks import frames
from tests.transport.socket_wire import prefixed


def opening(window: int = 65_535) -> bytes:
    """Return what a client says first; it takes *window* bytes of each answer."""
    return frames.PREFACE + frames.settings([(frames.INITIAL_WINDOW_SIZE, window)])


def block(path: str = "/test.Fake/Echo") -> bytes:
    """Return the header block of a call, which builds on none before it."""
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    return bytes(hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*field) for field in fields]))


def head(stream: int, path: str = "/test.Fake/Echo") -> bytes:
    """Return the HEADERS of a call."""
    return frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block(path))


def request(stream: int, message: bytes, path: str = "/test.Fake/Echo") -> bytes:
    """Return a whole call."""
    body = prefixed(message)
    pieces = [body[at : at + 16_384] for at in range(0, len(body), 16_384)]
    *first, last = (frames.frame(frames.DATA, 0, stream, piece) for piece in pieces)
    last = frames.frame(frames.DATA, frames.END_STREAM, stream, pieces[-1])
    return head(stream, path) + b"".join(first) + last
