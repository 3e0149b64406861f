"""Header blocks as no library writes them: every field literally, in any order, with any name."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks import frames
from tests.transport.raw import data, headers, literal
from tests.transport.socket_wire import prefixed

ECHO, FOREVER, NOTHING_THERE = "/test.Fake/Echo", "/test.Fake/Forever", "/test.Fake/Nothing"
Field = tuple[bytes | str, bytes | str]


def block(*more: Field, first: Iterable[Field] = (), **replaced: str | None) -> bytes:
    """Return the block of a call: *first*, the usual fields, and *more*.

    A usual field is *replaced* by its name, with `_` for `-`; None leaves it out.
    """
    usual: dict[str, str | None] = {
        "method": "POST",
        "scheme": "http",
        "path": ECHO,
        "authority": "here",
        "te": "trailers",
        "content_type": "application/grpc",
    }
    usual |= replaced
    pseudo = ("method", "scheme", "path", "authority")
    fields: list[Field] = list(first)
    for name, value in usual.items():
        if value is not None:
            fields.append((f":{name}" if name in pseudo else name.replace("_", "-"), value))
    return b"".join(literal(_bytes(name), _bytes(value)) for name, value in (*fields, *more))


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def call(*more: Field, body: bytes | None = None, stream: int = 1, end: bool = True, **replaced: str | None) -> bytes:
    """Return a whole call: its head, and *body*, which is one message by default."""
    body = prefixed(b"hello") if body is None else body
    return headers(stream, block(*more, **replaced)) + data(stream, body, end=end)


def padded(kind: int, flags: int, stream: int, payload: bytes, size: int = 3) -> bytes:
    """Return a frame with *size* bytes of padding."""
    return frames.frame(kind, flags | frames.PADDED, stream, bytes((size,)) + payload + bytes(size))


def request(stream: int, message: bytes = b"hello", path: str = ECHO) -> bytes:
    """Return a whole call, in frames as long as everybody takes."""
    body = prefixed(message)
    pieces = [body[at : at + frames.DEFAULT_FRAME_SIZE] for at in range(0, len(body), frames.DEFAULT_FRAME_SIZE)]
    parts = [data(stream, piece, end=number == len(pieces)) for number, piece in enumerate(pieces, 1)]
    return headers(stream, block(path=path)) + b"".join(parts)


LISTEN = block(path="/test.Fake/Listen")
"""The head of a call that takes all, and answers nothing."""
