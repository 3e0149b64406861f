"""Clients that vanish: connections closed or killed at every point of a call, half-way through a frame included."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from random import Random

import hpack

from tests.soak.asks import INFER, STREAM, Ask, Composer, deck
from tests.soak.ledger import Ledger
from tests.soak.models import MODELS
from tests.soak.shelf import Shelf

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x7
END_STREAM, END_HEADERS = 0x1, 0x4
CANCEL = struct.pack(">L", 0x8)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame of HTTP/2 (RFC 9113, section 4.1)."""
    return struct.pack(">L", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">L", stream) + payload


def prefixed(payload: bytes) -> bytes:
    """Return a message as gRPC frames it."""
    return b"\0" + struct.pack(">L", len(payload)) + payload


class Vandal:
    """Speaks HTTP/2 by hand, and never to the end."""

    def __init__(self, name: str, random: Random, address: str, shelf: Shelf, ledger: Ledger) -> None:
        """Make one that has done nothing yet."""
        self._random = random
        self._ledger = ledger
        self._composer = Composer(random, shelf, name)
        self._address = address

    async def vandalise(self, over: Callable[[], bool]) -> None:
        """Break connections in every way there is, in a random order, again and again."""
        ways = [
            *(self._nothing, self._half_a_preface, self._noise, self._half_a_frame, self._headers_only),
            *(self._half_a_message, self._asks_and_leaves, self._asks_and_resets, self._stream_and_leaves),
        ]
        while not over():
            for way in deck(self._random, ways):
                if over():
                    return
                await self._once(way(), kill=self._random.random() < 0.5)
                await asyncio.sleep(self._random.uniform(0.0, 0.02))

    async def _once(self, parts: list[bytes], kill: bool) -> None:
        """Connect, send *parts*, and go: with a FIN, or with *kill* by a RST, as when the process was killed."""
        host, port = self._address.rsplit(":", 1)
        # A server that is being ended takes nobody, and hangs up on whom it has.
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(self._random.choice((0.0, 0.0, 0.002)))
                if self._random.random() < 0.5:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(4096), 0.01)
                if kill:
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
            finally:
                writer.close()
                await writer.wait_closed()

    # ------------------------------------------------------------ the ways

    def _nothing(self) -> list[bytes]:
        return []

    def _half_a_preface(self) -> list[bytes]:
        return [PREFACE[: self._random.randrange(1, len(PREFACE))]]

    def _noise(self) -> list[bytes]:
        return [PREFACE + frame(SETTINGS, 0, 0), self._random.randbytes(self._random.randint(1, 500))]

    def _half_a_frame(self) -> list[bytes]:
        return [*self._opened(INFER, 1), frame(DATA, END_STREAM, 1, bytes(100))[: self._random.randint(1, 100)]]

    def _headers_only(self) -> list[bytes]:
        return self._opened(self._random.choice((INFER, STREAM)), 1)

    def _half_a_message(self) -> list[bytes]:
        message = prefixed(self._ask().payload)
        return [*self._opened(INFER, 1), frame(DATA, 0, 1, message[: self._random.randrange(len(message))])]

    def _asks_and_leaves(self) -> list[bytes]:
        """Ask for something, several times at once, and take no answer."""
        parts = self._opened(INFER, 1)[:1]
        for stream in range(1, 2 * self._random.randint(1, 20), 2):
            parts.append(self._head(INFER, stream) + frame(DATA, END_STREAM, stream, prefixed(self._sent(INFER))))
        return parts

    def _asks_and_resets(self) -> list[bytes]:
        parts = self._asks_and_leaves()
        resets = [frame(RST_STREAM, 0, 2 * number + 1, CANCEL) for number in range(len(parts) - 1)]
        return [*parts, b"".join(resets), frame(GOAWAY, 0, 0, bytes(8))]

    def _stream_and_leaves(self) -> list[bytes]:
        parts = self._opened(STREAM, 1)
        for _ in range(self._random.randint(1, 10)):
            parts.append(frame(DATA, 0, 1, prefixed(self._sent(""))))
        return [*parts, frame(DATA, 0, 1, prefixed(self._ask().payload))[:20]]

    # ------------------------------------------------------------ their parts

    def _opened(self, method: str, stream: int) -> list[bytes]:
        self._ledger.unseen_call(method)
        return [PREFACE + frame(SETTINGS, 0, 0), self._head(method, stream)]

    def _head(self, method: str, stream: int) -> bytes:
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", f"/{method}"),
            (":authority", "soak"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        # An encoder of its own for each, so that the table stays empty and the frames may be sent in any order.
        encoder = hpack.Encoder()
        encoder.header_table_size = 0
        return frame(HEADERS, END_HEADERS, stream, encoder.encode(fields))

    def _ask(self) -> Ask:
        return self._composer.plain([MODELS[name] for name in ("table", "slow")])

    def _sent(self, method: str) -> bytes:
        """Make up a request whose end nobody sees."""
        ask = self._ask()
        ask.what = "vanished"
        self._ledger.unseen_end(ask, "VANISHED")
        if method:
            self._ledger.unseen_call(method)
        return ask.payload
