"""One server a plane for all cases, and a case's visit to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc
import hpack
from h2.errors import ErrorCodes

from benchmarks import frames
from tests.conformance.case import A_CALL, GOES_ON, HANGS_UP, OK, Case
from tests.conformance.fields import request
from tests.transport import raw
from tests.transport.fakes import Behaviour, count, echo, echo_each, failing, forever
from tests.transport.raw import Client
from tests.transport.serving import Served
from turnout_server.transport.call import Call

PROBE = 2**20 + 1
"""The stream of the call that shows that a connection goes on."""
PATIENCE_S = 30.0
"""How long a case waits for what must come, so that it fails rather than hangs."""
MAX_MESSAGE = 1_000_000
STATUSES = {code.value[0]: code.name for code in grpc.StatusCode}


async def listen(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
    """Take what comes, and answer nothing."""
    async for _ in requests:
        pass
    await asyncio.get_running_loop().create_future()
    yield b""


async def metadata(message: bytes, call: Call) -> bytes:
    """Answer with the caller's metadata."""
    return json.dumps(dict(call.metadata)).encode()


async def deadline(message: bytes, call: Call) -> bytes:
    """Answer with the time that is left, in whole minutes."""
    left = None if call.deadline is None else call.deadline - asyncio.get_running_loop().time()
    return b"none" if left is None else b"%d" % round(left / 60)


async def fail(message: bytes, call: Call) -> bytes:
    """Fail with the text that was sent."""
    raise failing(grpc.StatusCode.ABORTED, message.decode(), (("x-why", "because"), ("x-data-bin", b"\0\1\2\3")))


async def fail_later(requests: Any, call: Call) -> AsyncGenerator[bytes, None]:
    """Answer once, and fail."""
    yield b"first"
    raise failing(grpc.StatusCode.ABORTED, "no more")


def methods() -> Behaviour:
    """Return what both planes serve."""
    behaviour = Behaviour()
    behaviour.unary("Echo", echo)
    behaviour.unary("Probe", echo)
    behaviour.unary("Forever", forever)
    behaviour.unary("Metadata", metadata)
    behaviour.unary("Deadline", deadline)
    behaviour.unary("Fail", fail)
    behaviour.server_stream("Count", count)
    behaviour.server_stream("FailLater", fail_later)
    behaviour.both_stream("EchoEach", echo_each)
    behaviour.both_stream("Listen", listen)
    return behaviour


async def soon(done: Callable[[], Any]) -> None:
    """Wait until *done*, which others bring about."""
    async with asyncio.timeout(PATIENCE_S):
        while not done():
            await asyncio.sleep(0.001)


class Answer:
    """What came back on one stream."""

    def __init__(self) -> None:
        self.blocks: list[dict[str, str]] = []
        self.body = b""
        self.ended = False

    @property
    def fields(self) -> dict[str, str]:
        """Of all blocks, the last first."""
        found: dict[str, str] = {}
        for one in self.blocks:
            found |= one
        return found

    def __str__(self) -> str:
        """Return how the call ended, in the words of `case`; empty while it has not."""
        fields = self.fields
        if fields.get(":status", "200") != "200":
            return f"HTTP {fields[':status']}"
        if self.ended and "grpc-status" in fields:
            return STATUSES[int(fields["grpc-status"])]
        return "no status" if self.ended else ""


def answers(client: Client) -> dict[int, Answer]:
    """Return what came back on each stream."""
    decoder, found, fragments = hpack.Decoder(), dict[int, Answer](), b""
    for one in client.heard:
        answer = found.setdefault(one.stream, Answer())
        if one.kind in (frames.HEADERS, frames.CONTINUATION):
            fragments += one.payload
            if one.flags & frames.END_HEADERS:
                answer.blocks.append({str(name): str(value) for name, value in decoder.decode(fragments)})
                fragments = b""
        elif one.kind == frames.DATA:
            answer.body += one.payload
        if one.kind in (frames.HEADERS, frames.DATA) and one.flags & frames.END_STREAM:
            answer.ended = True
    return found


class Visit:
    """A case's clients of one plane's server."""

    def __init__(self, server: Served, plane: str) -> None:
        self.server = server
        self.plane = plane
        self._clients: list[Client] = []
        self._probed: list[Client] = []

    async def client(self, *said: bytes) -> Client:
        """Connect, and say this."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.server.port))
        self._clients.append(client)
        await client.say(*said)
        return client

    async def greeted(self, *said: bytes, window: int = 65_535) -> Client:
        """Connect, wait for what the server says first, and say this."""
        client = await self.client(raw.opening(window))
        await client.until(lambda: client.of(frames.SETTINGS))
        await client.say(frames.frame(frames.SETTINGS, frames.ACK, 0), *said)
        return client

    def running(self, method: str) -> int:
        """How many calls of *method* have not ended."""
        return self.server.behaviour.methods[f"test.Fake/{method}"].running

    @property
    def handled(self) -> int:
        """How many calls of `Echo` came to its handler."""
        return len(self.server.behaviour.methods["test.Fake/Echo"].calls)

    async def quiet(self) -> bool:
        """Wait until no handler runs."""
        await soon(lambda: not any(method.running for method in self.server.behaviour.methods.values()))
        return True

    async def listening(self) -> Client:
        """Connect, with a call on stream 1 whose handler has begun."""
        calls = self.server.behaviour.methods["test.Fake/Listen"].calls
        begun = len(calls)
        client = await self.client(A_CALL)
        await soon(lambda: len(calls) > begun)
        return client

    async def took(self, case: Case) -> str:
        """Return what the plane makes of a case."""
        if not isinstance(case.sent, bytes):
            return await case.sent(self)
        client = await self.listening() if case.before is A_CALL else await self.client(case.before)
        handled = self.handled
        await client.say(case.sent)
        if case.expected(self.plane) == GOES_ON:
            await self.goes_on(client)
        end = await self.end(client, case.stream)
        if end != OK and self.handled > handled:
            end += ", handled"
        if not client.closed and end != GOES_ON:
            await self.goes_on(client)
            if client.closed:
                end = ending(client)
        return end

    async def end(self, client: Client, stream: int) -> str:
        """Wait until *stream* has ended, or its connection; return how, or what there is after a while."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await client.until(lambda: outcome(client, stream) != GOES_ON or probed(client))
        except TimeoutError:
            await self.goes_on(client)
        return outcome(client, stream)

    async def goes_on(self, client: Client) -> None:
        """Ask the server something else on the same connection, and wait for the answer or its end."""
        if client not in self._probed:
            self._probed.append(client)
            await client.say(request(PROBE, b"", "/test.Fake/Probe"))
        await client.goes_on()
        await client.until(lambda: probed(client))

    async def leave(self) -> None:
        """Go; no handler is left behind."""
        for client in self._clients:
            await client.close()
        await self.quiet()


def probed(client: Client) -> bool:
    """Say whether the call that shows it was answered."""
    return client.closed or bool(answers(client).get(PROBE, Answer()).ended or PROBE in client.resets)


def outcome(client: Client, stream: int) -> str:
    """Return what has come of *stream*, in the words of `case`."""
    answer = answers(client).get(stream)
    if answer is not None and str(answer):
        return str(answer)
    if stopped := client.of(frames.RST_STREAM, stream):
        code = ErrorCodes(stopped[0].number)
        # What gRPC's clients make of it. grpcio sends this or a status with that name, as time allows.
        return "INTERNAL" if code is ErrorCodes.INTERNAL_ERROR else f"RST_STREAM {code.name}"
    return ending(client) if client.closed else GOES_ON


def ending(client: Client) -> str:
    """Return how the connection has ended; empty while it has not."""
    if client.goodbye is not None:
        return f"GOAWAY {client.goodbye.name}"
    return HANGS_UP if client.closed else ""
