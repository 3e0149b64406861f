"""The engine's own bounds within HTTP/2, and what random frames do to it; tests/conformance has the rules."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator

import pytest
from h2.errors import ErrorCodes as ErrorCode

from benchmarks import frames
from benchmarks.frames import frame, rst_stream, window_update
from tests.transport import raw
from tests.transport.engine import STREAMS, WINDOW, Engine
from tests.transport.fakes import FakeMethod
from tests.transport.raw import Client, data, headers, literal
from tests.transport.serving import soon
from tests.transport.socket_wire import prefixed
from turnout_server.transport.call import Call

BLOCK = raw.block("/test.Fake/Listen")
TRAILERS = literal(b"x-checksum", b"1")
PING = frame(frames.PING, 0, 0, b"01234567")
FIRST = prefixed(b"")
PROTOCOL, CANCEL = ErrorCode.PROTOCOL_ERROR, ErrorCode.CANCEL


@pytest.fixture
async def listening(engine: Engine) -> FakeMethod:
    """A method that takes what comes, and answers nothing."""

    async def listen(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        async for _ in requests:
            pass
        await asyncio.get_running_loop().create_future()
        yield b""

    method = engine.behaviour.both_stream("Listen", listen)
    await engine.start()
    return method


@pytest.fixture
async def client(engine: Engine, listening: FakeMethod) -> Client:
    """A client with a call on stream 1 that has begun, and whose body goes on."""
    client = await engine.client(raw.opening() + headers(1, BLOCK) + data(1, FIRST))
    await listening.begun.wait()
    return client


async def test_first_of_all_it_says_what_one_client_may_make_it_hold(echoing: Engine) -> None:
    client = await echoing.client(raw.opening())
    await client.until(lambda: client.of(frames.WINDOW_UPDATE))
    (settings, *_) = client.of(frames.SETTINGS)
    said = dict(frames.settings_in(settings.payload))
    assert said[frames.MAX_CONCURRENT_STREAMS] == STREAMS
    assert said[frames.INITIAL_WINDOW_SIZE] == WINDOW
    assert [(one.stream, one.number) for one in client.of(frames.WINDOW_UPDATE)] == [
        (0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW)
    ]


async def test_a_stream_takes_no_more_than_its_window(engine: Engine) -> None:
    """Its handler hears of it when it asks for what the client sent: h2 tells nobody else."""
    release = asyncio.Event()

    async def slow(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        await release.wait()
        async for _ in requests:
            pass
        yield b""

    method = engine.behaviour.both_stream("Listen", slow)
    await engine.start()
    client = await engine.greeted()
    await client.say(headers(1, BLOCK), data(1, bytes(16_384)) * (WINDOW // 16_384))
    assert await client.goes_on()
    assert not client.resets
    await client.say(data(1, b"x"))
    assert await client.goes_on()
    assert client.resets == {1: ErrorCode.FLOW_CONTROL_ERROR}
    release.set()
    await method.all_cancelled.wait()
    assert method.cancelled == 1


async def test_padding_counts_for_windows_and_is_given_back(client: Client, listening: FakeMethod) -> None:
    padded = frame(frames.DATA, frames.PADDED, 1, b"\xff" + prefixed(bytes(10_000)) + bytes(255))
    size, sent = len(padded) - frames.HEADER.size, len(FIRST)

    def room() -> int:
        return frames.DEFAULT_WINDOW - sent + sum(one.number for one in client.of(frames.WINDOW_UPDATE, 1))

    while sent < 10 * frames.DEFAULT_WINDOW:
        await client.until(lambda: room() >= size)
        await client.say(padded)
        sent += size
    assert await client.goes_on()
    assert not client.resets
    assert not listening.cancelled


async def test_streams_past_the_limit_are_refused_and_their_headers_count_all_the_same(engine: Engine) -> None:
    async def forever(raw: bytes, call: Call) -> bytes:
        return await asyncio.get_running_loop().create_future()

    method = engine.behaviour.unary("Forever", forever)
    await engine.start()
    path = "/test.Fake/Forever"
    client = await engine.client(raw.opening())
    await client.say(b"".join(raw.request(stream, b"", path) for stream in range(1, 2 * STREAMS, 2)))
    await soon(lambda: len(method.calls) == STREAMS)
    refused, last = 2 * STREAMS + 1, 2 * STREAMS + 3
    await client.say(headers(refused, raw.block(path) + literal(b"x-kept", b"in the table", 0x40)))
    assert await client.goes_on()
    assert client.resets == {refused: ErrorCode.REFUSED_STREAM}
    await client.say(rst_stream(1, CANCEL))
    await soon(lambda: method.cancelled)
    assert await client.goes_on()
    await client.say(headers(last, raw.block(path) + b"\xbe") + data(last, prefixed(b""), end=True))
    await soon(lambda: len(method.calls) == STREAMS + 1)
    assert method.calls[-1].metadata == {"x-kept": "in the table"}


async def test_a_window_is_acknowledged_before_use_is_made_of_it(echoing: Engine) -> None:
    client = await echoing.client(raw.opening(window=0) + raw.request(1, b"hello"))
    await client.until(lambda: client.of(frames.HEADERS))
    await client.say(frames.settings([(frames.INITIAL_WINDOW_SIZE, 4)]))
    assert await client.goes_on()
    settings = [number for number, one in enumerate(client.heard) if one.kind == frames.SETTINGS and one.flags]
    first_data = next(number for number, one in enumerate(client.heard) if one.kind == frames.DATA)
    assert len(settings) == 2
    assert settings[-1] < first_data


async def test_answers_that_wait_for_the_connection_take_turns(echoing: Engine) -> None:
    client = await echoing.greeted(window=2**20)
    await client.say(raw.request(1, b"x" * 100_000), raw.request(3, b"y" * 100_000))
    # Both are answered as far as the connection's window goes, before there is more of that.
    await client.until(lambda: client.of(frames.HEADERS, 1) and client.of(frames.HEADERS, 3))
    await client.until(lambda: sum(len(one.payload) for one in client.of(frames.DATA)) == frames.DEFAULT_WINDOW)
    await client.say(window_update(0, 16_384))
    while len({one.stream for one in client.of(frames.DATA)}) < 2:
        heard = len(client.of(frames.DATA))
        await client.until(lambda heard=heard: len(client.of(frames.DATA)) > heard)
        await client.say(window_update(0, 16_384))
    assert not [one for one in client.of(frames.HEADERS) if one.flags & frames.END_STREAM]


# ---------------------------------------------------------------- anything


async def test_whatever_frames_a_client_sends_nobody_else_hears_of_it(echoing: Engine) -> None:
    draw = random.Random(9)
    kinds = [*range(10), 0x77]
    payloads = [b"", b"x", bytes(4), bytes(5), bytes(8), raw.block(), prefixed(b"hello"), b"\xff" * 100]

    def some() -> bytes:
        stream = draw.choice((0, 1, 1, 3, 3, 5, 2, 2**31 - 1))
        return frame(draw.choice(kinds), draw.choice((0, 1, 4, 5, 8, 0x20, 0x2D, 0xFF)), stream, draw.choice(payloads))

    other = await echoing.client(raw.opening())
    for number in itertools.count(1):
        said = raw.opening() + b"".join(some() for _ in range(draw.randrange(1, 30)))
        client = await echoing.client(*(said[at : at + 50] for at in range(0, len(said), 50)))
        await client.goes_on()
        await client.close()
        if number % 20 == 0:
            await other.say(raw.request(number - 1, b"%d" % number))
            await other.until(lambda number=number: other.of(frames.DATA, number - 1))
            assert other.of(frames.DATA)[-1].payload == prefixed(b"%d" % number)
        if number == 300:
            break
    await soon(lambda: echoing.transport.connections == 1)
