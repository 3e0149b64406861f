"""Methods that do as told, and answer bytes with bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, cast

import grpc

from turnout_server.transport.call import Call
from turnout_server.transport.gate import Gate
from turnout_server.transport.method import CallFailed, Method, Methods
from turnout_server.transport.status import Status
from turnout_server.transport.values import Shape

Answer = Callable[[bytes, Call], Awaitable[bytes]]
Answers = Callable[[Any, Call], AsyncGenerator[bytes, None]]


class FakeMethod:
    """What the transport sees of a `Method`."""

    def __init__(self, act: Any, client_streaming: bool, server_streaming: bool, quick: bool, gate: Gate) -> None:
        self._act = act
        self.client_streaming = client_streaming
        self.server_streaming = server_streaming
        self.quick = quick
        self.gate = gate
        self.shape: Shape = ()
        self.begun = asyncio.Event()
        self.calls: list[Call] = []
        self.cancelled = 0
        self.all_cancelled = asyncio.Event()
        """Set whenever no call is in progress any more."""
        self._running = 0

    @property
    def running(self) -> int:
        """How many calls are in progress."""
        return self._running

    @contextlib.contextmanager
    def _watched(self, call: Call) -> Any:
        self.calls.append(call)
        self._running += 1
        self.begun.set()
        self.gate.enter()
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self.gate.leave()
            self._running -= 1
            if not self._running:
                self.all_cancelled.set()

    async def unary(self, raw: bytes, call: Call) -> bytes:
        with self._watched(call):
            return cast("bytes", await self._act(raw, call))

    async def stream(self, raw: Any, call: Call) -> AsyncGenerator[bytes, None]:
        with self._watched(call):
            async with contextlib.aclosing(self._act(raw, call)) as answers:
                async for answer in answers:
                    yield answer


class Behaviour:
    """Methods by name: `test.Fake/Echo` is what `add` was told of as `Echo`."""

    def __init__(self) -> None:
        self.gate = Gate(10_000)
        self.methods: dict[str, FakeMethod] = {}

    def unary(self, name: str, act: Answer, quick: bool = True) -> FakeMethod:
        """Add a method with one message each way."""
        return self._add(name, act, False, False, quick)

    def server_stream(self, name: str, act: Answers) -> FakeMethod:
        """Add a method with one message in, and many out."""
        return self._add(name, act, False, True, False)

    def both_stream(self, name: str, act: Answers) -> FakeMethod:
        """Add a method with many messages each way."""
        return self._add(name, act, True, True, False)

    def _add(self, name: str, act: Any, client: bool, server: bool, quick: bool) -> FakeMethod:
        method = FakeMethod(act, client, server, quick, self.gate)
        self.methods[f"test.Fake/{name}"] = method
        return method

    @property
    def as_methods(self) -> Methods:
        """What a transport is given."""
        return cast("dict[str, Method]", self.methods)


async def echo(raw: bytes, call: Call) -> bytes:
    """Answer with what was asked."""
    return raw


async def forever(raw: bytes, call: Call) -> bytes:
    """Never answer."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def count(raw: bytes, call: Call) -> AsyncGenerator[bytes, None]:
    """Answer with as many messages as the request has bytes: each is the request."""
    for _ in raw:
        yield raw


async def echo_each(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
    """Answer each message with itself."""
    async for request in requests:
        yield request


async def slow_each(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
    """Answer each message with itself, after a while in which the next is waited for already."""
    coming = asyncio.ensure_future(anext(requests))
    try:
        while True:
            request = await coming
            coming = asyncio.ensure_future(anext(requests))
            await asyncio.wait((coming,), timeout=0.2)
            if coming.done():
                coming.result()  # or what has ended the stream
            yield request
    finally:
        coming.cancel()


def failing(code: grpc.StatusCode, message: str = "", trailers: tuple[tuple[str, str | bytes], ...] = ()) -> CallFailed:
    """Return what a handler raises to end a call with a status."""
    return CallFailed(Status(code, message, trailers))
