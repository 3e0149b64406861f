"""The engine on loopback, for clients that look at every frame."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from benchmarks import frames
from tests.transport.fakes import Behaviour
from tests.transport.raw import Client, opening
from tests.transport.socket_wire import SocketWire
from turnout_server.config import LimitsConfig
from turnout_server.transport.call import Call
from turnout_server.transport.engine import EngineTransport

OK, EXPIRED, EXHAUSTED, ABORTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 4, 8, 10, 12, 13, 14
MAX_MESSAGE = 1_000_000
WINDOW = 256 * 1024
STREAMS = 256
UNARY = pytest.mark.parametrize("quick", [True, False])


class Engine:
    """The engine, and clients of it."""

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.transport: EngineTransport
        self.port = 0
        self.limits = LimitsConfig(max_message_bytes=MAX_MESSAGE)
        self.urgent: set[str] = set()
        self.quotas: dict[str, int] = {}
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        options = {"urgent": self.urgent, "quotas": self.quotas}
        self.transport = EngineTransport(self.behaviour.as_methods, self.limits, **options)
        self.port = await self.transport.start("127.0.0.1", 0)

    async def unary(self, act: Callable[[bytes, Call], Awaitable[bytes]], quick: bool = True, **options: Any) -> Any:
        """Serve a unary method, and connect to it."""
        method = self.behaviour.unary("Do", act, quick)
        await self.start()
        return await self.wire(**options), method

    async def out(self, act: Any, **options: Any) -> Any:
        """Serve a method with many answers, and connect to it."""
        method = self.behaviour.server_stream("Do", act)
        await self.start()
        return await self.wire(**options), method

    async def both(self, act: Any, **options: Any) -> Any:
        """Serve a method with many messages each way, and connect to it."""
        method = self.behaviour.both_stream("Do", act)
        await self.start()
        return await self.wire(**options), method

    async def wire(self, **options: Any) -> SocketWire:
        wire = await SocketWire.connect(self.port, **options)
        self._stack.push_async_callback(wire.close)
        return wire

    async def client(self, *said: bytes) -> Client:
        """Connect by hand, and say this."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._stack.callback(writer.close)
        client = Client(reader, writer)
        await client.say(*said)
        return client

    async def greeted(self, window: int = 65_535) -> Client:
        """Connect by hand, and see to it that the windows are as wide as the server says."""
        client = await self.client(opening(window), frames.frame(frames.SETTINGS, frames.ACK, 0))
        await client.until(lambda: client.of(frames.WINDOW_UPDATE, 0))
        return client

    async def close(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self._stack.aclose()
        await self.transport.say_goodbye()
