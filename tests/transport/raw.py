"""HTTP/2 by hand, for clients that do what no library does."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import Any

import hpack
from h2.errors import ErrorCodes

from benchmarks import frames
from tests.transport.serving import PATIENCE_S
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


def headers(stream: int, block: bytes, end: bool = False) -> bytes:
    """Return HEADERS of one frame."""
    return frames.frame(frames.HEADERS, frames.END_HEADERS | end, stream, block)


def data(stream: int, payload: bytes = b"", end: bool = False) -> bytes:
    """Return DATA of one frame."""
    return frames.frame(frames.DATA, int(end), stream, payload)


def literal(name: bytes, value: bytes, kind: int = 0) -> bytes:
    """Return one field as it is; with *kind* 0x40 the peer is to keep it in its table."""
    return bytes((kind,)) + _length(name) + _length(value)


def _length(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest, coded = len(text) - 127, [127]
    while rest >= 128:
        coded.append(rest & 127 | 128)
        rest >>= 7
    return bytes((*coded, rest)) + text


class Client:
    """A client that says any bytes, and hears frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unread = b""
        self.heard: list[frames.Frame] = []
        self.closed = False
        """Whether the server has hung up."""

    async def say(self, *pieces: bytes) -> None:
        """Send *pieces*; the server may hang up meanwhile."""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                for at in range(0, len(piece), 65_536):
                    self._writer.write(piece[at : at + 65_536])
                    await self._writer.drain()

    async def until(self, done: Callable[[], Any]) -> None:
        """Hear frames until *done*, or the server has hung up."""
        async with asyncio.timeout(PATIENCE_S):
            while not done() and not self.closed:
                piece = await self._read()
                self.closed = not piece
                self._unread += piece
                whole = list(frames.whole(self._unread))
                self.heard += [frame for frame, _ in whole]
                self._unread = self._unread[whole[-1][1] :] if whole else self._unread

    async def rest(self) -> bytes:
        """Return every byte until the server hangs up."""
        heard = b""
        async with asyncio.timeout(PATIENCE_S):
            while piece := await self._read():
                heard += piece
        return heard

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(65_536)
        except ConnectionError:
            return b""

    def of(self, kind: int, stream: int | None = None) -> list[frames.Frame]:
        """Return the frames of *kind* that were heard, on *stream* or any."""
        return [one for one in self.heard if one.kind == kind and stream in (None, one.stream)]

    @property
    def resets(self) -> dict[int, ErrorCodes]:
        """The streams that the server has reset, and why."""
        return {one.stream: ErrorCodes(one.number) for one in self.of(frames.RST_STREAM)}

    @property
    def goodbye(self) -> ErrorCodes | None:
        """Why the server hung up, as it says; None where it said nothing."""
        said = self.of(frames.GOAWAY)
        return ErrorCodes(frames.word(said[-1].payload[4:])) if said else None

    async def goes_on(self) -> bool:
        """Ask whether the server listens still, and wait for its word or its end."""
        question = secrets.token_bytes(8)
        await self.say(frames.frame(frames.PING, 0, 0, question))
        await self.until(lambda: any(one.payload == question for one in self.of(frames.PING)))
        return not self.closed

    async def close(self) -> None:
        """Go."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
