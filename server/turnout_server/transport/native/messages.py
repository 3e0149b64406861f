"""Length-prefixed messages, out of pieces of any size and back."""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

import grpc

from turnout_server.transport.status import PUSHBACK_KEY, Status

PREFIX_SIZE: Final = 5
"""A flag that says whether the message is compressed, and its length in four bytes."""
_SMALL: Final = 1024
"""Pieces of fewer bytes are put together at once: kept apart, one of a single byte would take fifty."""
_WINDOW_BITS: Final = {"gzip": 31, "deflate": 15}
"""As zlib calls the formats."""


class MessageError(Exception):
    """A message cannot be taken, and the call ends."""

    def __init__(self, code: grpc.StatusCode, text: str, trailers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(text)
        self.status = Status(code, text, trailers)


class Message(NamedTuple):
    """A whole message."""

    compressed: bool
    payload: bytes


class MessageReader:
    """Puts messages together."""

    __slots__ = ("_chunks", "_have", "_limit", "_need", "_prefix")

    def __init__(self, limit: int) -> None:
        """Make a reader of messages of at most *limit* bytes."""
        self._limit = limit
        self._prefix = b""
        self._need = -1
        self._have = 0
        self._chunks: list[bytes | bytearray] = []

    @property
    def missing(self) -> int:
        """How many bytes of the message that has begun are still to come; 0 where that is not known."""
        return max(self._need - self._have, 0)

    @property
    def between(self) -> bool:
        """Whether no message has begun."""
        return self._need < 0 and not self._prefix

    def feed(self, chunk: bytes) -> list[Message]:
        """Take the next piece; return the messages that it completes.

        Raises:
            MessageError: a message is longer than allowed, or its prefix is not one.
        """
        messages: list[Message] = []
        at, end = 0, len(chunk)
        while True:
            if self._need < 0:
                wanted = PREFIX_SIZE - len(self._prefix)
                self._prefix += chunk[at : at + wanted]
                at += wanted
                if len(self._prefix) < PREFIX_SIZE:
                    return messages
                self._begin()
            taken = min(self._need - self._have, end - at)
            if taken > 0:
                self._keep(chunk[at : at + taken])
                self._have += taken
                at += taken
            if self._have < self._need:
                return messages
            messages.append(self._whole())
            if at >= end:
                return messages

    def _keep(self, piece: bytes) -> None:
        chunks = self._chunks
        if len(piece) >= _SMALL or len(piece) == self._need:
            chunks.append(piece)
        elif chunks and isinstance(chunks[-1], bytearray):
            chunks[-1] += piece
        else:
            chunks.append(bytearray(piece))

    def _begin(self) -> None:
        flag, size = self._prefix[0], int.from_bytes(self._prefix[1:], "big")
        if flag > 1:
            raise MessageError(grpc.StatusCode.INTERNAL, f"a message begins with {flag}; expected 0 or 1")
        if size > self._limit:
            raise too_large(size, self._limit)
        self._need, self._have = size, 0

    def _whole(self) -> Message:
        message = Message(self._prefix[0] == 1, b"".join(self._chunks))
        self._chunks.clear()
        self._prefix = b""
        self._need = -1
        return message


def inflated(payload: bytes, encoding: str, limit: int) -> bytes:
    """Return a compressed message as it was.

    Raises:
        MessageError: it is not valid, or more than *limit* bytes.
    """
    bits = _WINDOW_BITS.get(encoding)
    if bits is None:
        raise MessageError(grpc.StatusCode.INTERNAL, "a message is compressed, and grpc-encoding does not say how")
    inflater = zlib.decompressobj(bits)
    try:
        message = inflater.decompress(payload, limit + 1)
    except zlib.error as error:
        raise MessageError(grpc.StatusCode.INTERNAL, f"a message is not valid {encoding}") from error
    if len(message) > limit:
        raise too_large(len(message), limit)
    if not inflater.eof:
        raise MessageError(grpc.StatusCode.INTERNAL, f"a message is not whole as {encoding}")
    return message


def too_large(size: int, limit: int) -> MessageError:
    """Return what to raise for a message of *size* bytes, or more.

    The words are those of gRPC's own servers, by which clients tell it from a lack of room. There is no use in trying
    it again.
    """
    text = f"Received message larger than max ({size} vs. {limit})"
    return MessageError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, ((PUSHBACK_KEY, "-1"),))
