"""What carries calls, on loopback, and channels to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from tests.transport.fakes import Behaviour
from turnout_server.config import LimitsConfig
from turnout_server.transport.engine import EngineTransport
from turnout_server.transport.grpcio import GrpcioTransport

MIB = 1024 * 1024
PATIENCE_S = 60.0
"""How long a test waits for what must come, so that it fails rather than hangs."""
CARRIERS: dict[str, Any] = {"engine": EngineTransport, "grpcio": GrpcioTransport}


class Served:
    """A server, and channels to it."""

    def __init__(self, transport: Any, port: int, behaviour: Behaviour) -> None:
        self.transport = transport
        self.port = port
        self.behaviour = behaviour
        self.address = f"127.0.0.1:{port}"
        self.channels: list[grpc.aio.Channel] = []

    def channel(self, *options: tuple[str, Any], **more: Any) -> grpc.aio.Channel:
        """Connect anew; large messages are taken."""
        everything = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            *options,
        ]
        self.channels.append(grpc.aio.insecure_channel(self.address, everything, **more))
        return self.channels[-1]


@contextlib.asynccontextmanager
async def served(carrier: str, behaviour: Behaviour, **limits: Any) -> AsyncIterator[Served]:
    """Serve *behaviour* on a free port of loopback."""
    transport = CARRIERS[carrier](behaviour.as_methods, LimitsConfig(**{"max_message_bytes": 64 * MIB} | limits))
    one = Served(transport, await transport.start("127.0.0.1", 0), behaviour)
    try:
        yield one
    finally:
        for channel in one.channels:
            await channel.close()
        await transport.say_goodbye()


def unary(channel: grpc.aio.Channel, method: str = "Echo") -> Any:
    """Return what calls a unary method."""
    return channel.unary_unary(f"/test.Fake/{method}")


def both(channel: grpc.aio.Channel) -> Any:
    """Return what calls the method with many messages each way."""
    return channel.stream_stream("/test.Fake/EchoEach")


async def failure(call: Any) -> grpc.aio.AioRpcError:
    """Return how *call* fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def soon(done: Callable[[], Any]) -> None:
    """Wait until *done*, which other threads bring about."""
    async with asyncio.timeout(PATIENCE_S):
        while not done():
            await asyncio.sleep(0.001)
