"""The engine's budget: what callers make it hold is bounded over all of them, and comes back however a call ends."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncGenerator

import hpack
import msgspec
import pytest
from h2.errors import ErrorCodes as ErrorCode

from benchmarks import frames
from benchmarks.frames import rst_stream
from tests.transport import raw
from tests.transport.engine import EXHAUSTED, OK, Engine
from tests.transport.fakes import echo, echo_each, forever
from tests.transport.raw import Client, data, headers
from tests.transport.serving import soon
from tests.transport.socket_wire import prefixed
from turnout_server import machine
from turnout_server.config import LEAST_MEMORY, LimitsConfig
from turnout_server.transport import engine as module
from turnout_server.transport.call import Call

EACH = raw.block("/test.Fake/Do")
MEMORY = 4 * LEAST_MEMORY
IDLE = 300_000
"""Bytes: what connections that do nothing take, and what the engine's threads have at hand."""
SMALL_FRAME = 256
"""Bytes: what a frame takes that lies unread, however small."""
HALF = b"\0" + (200_000).to_bytes(4, "big") + b"not all of it"


@pytest.fixture
def small(engine: Engine, one_shard: None) -> Engine:
    """The engine with little memory."""
    engine.limits = msgspec.structs.replace(engine.limits, memory_bytes=MEMORY)
    return engine


def taken(engine: Engine) -> int:
    counts = engine.transport.counts()
    assert counts["memory.limit"] == MEMORY
    assert counts["memory.taken"] <= MEMORY // 4
    return counts["memory.taken"]


def refusals(engine: Engine) -> int:
    return engine.transport.counts()["refusal.memory"]


def ends(clients: list[Client]) -> list[dict[bytes, bytes]]:
    """Return the fields by which calls have ended."""
    found = []
    for client in clients:
        decoder = hpack.Decoder()
        found += [dict(decoder.decode(one.payload, raw=True)) for one in client.of(frames.HEADERS)]
    return found


async def listening(clients: list[Client]) -> list[asyncio.Task[None]]:
    return [asyncio.ensure_future(client.until(lambda: False)) for client in clients]


async def test_half_messages_are_refused_beyond_the_budget_while_a_neighbour_is_answered(small: Engine) -> None:
    wire, method = await small.unary(echo)
    clients = [await small.client(raw.opening() + headers(1, EACH) + data(1, HALF)) for _ in range(20)]
    tasks = await listening(clients)
    await soon(lambda: refusals(small) >= 10)
    await soon(lambda: taken(small) > MEMORY // 8)
    for size in (10, 1_000, 20_000):
        answer = await wire.call("Do", b"x" * size)
        assert (answer.status, answer.messages) == (OK, [b"x" * size])
    await soon(lambda: len(ends(clients)) == refusals(small))
    refused = ends(clients)
    assert len(refused) < 20
    for fields in refused:
        assert int(fields[b"grpc-status"]) == EXHAUSTED
        assert fields[b"grpc-retry-pushback-ms"] == b"250"
    for task in tasks:
        task.cancel()
    for client in clients:
        await client.close()
    await soon(lambda: taken(small) < IDLE)
    stream = wire.headers("Do")
    await wire.upload(stream, prefixed(b"x" * 100_000))
    assert (await wire.ended(stream)).messages == [b"x" * 100_000]
    assert len(method.calls) == 4


async def test_a_neighbour_with_less_than_a_share_gets_in_while_others_hold_all_that_they_can_get(
    small: Engine,
) -> None:
    wire, _ = await small.unary(echo)
    half = b"\0" + (9_000).to_bytes(4, "big") + b"not all of it"
    calls = b"".join(headers(stream, EACH) + data(stream, half) for stream in range(1, 40, 2))
    clients = [await small.client(raw.opening() + calls) for _ in range(12)]
    tasks = await listening(clients)
    await soon(lambda: refusals(small) >= 100)
    for _ in range(30):
        # With its answer, and what Python has of it, more than is a connection's own; and less than a share, while
        # Python may have the one before as well.
        answer = await wire.call("Do", b"x" * 12_000)
        assert (answer.status, answer.messages) == (OK, [b"x" * 12_000])
    assert taken(small) > MEMORY // 8
    for task in tasks:
        task.cancel()
    for client in clients:
        await client.close()
    await soon(lambda: taken(small) < IDLE)


async def test_a_refusal_says_why_and_when_to_come_again(small: Engine) -> None:
    wire, _ = await small.unary(echo)
    for _ in range(2):
        stream = wire.headers("Do")
        wire.send(stream, b"\0" + (900_000).to_bytes(4, "big"))
    answer = await wire.ended(stream)
    assert answer.status == EXHAUSTED
    assert answer.message == "there is no memory for it now; limits.memory_bytes is the bound"
    fields = answer.headers | answer.trailers
    assert fields["grpc-retry-pushback-ms"] == "250"
    assert "grpc-status-details-bin" in fields


async def test_what_is_inflated_is_held_before_it_is_there(small: Engine) -> None:
    wire, method = await small.unary(echo)
    bomb = prefixed(gzip.compress(bytes(990_000)), 1)
    stream = wire.headers("Do", [("grpc-encoding", "gzip")])
    wire.send(stream, bomb, end=True)
    assert (await wire.ended(stream)).status == EXHAUSTED
    assert refusals(small) == 1
    assert not method.calls
    small_one = prefixed(gzip.compress(bytes(100_000)), 1)
    stream = wire.headers("Do", [("grpc-encoding", "gzip")])
    wire.send(stream, small_one, end=True)
    assert (await wire.ended(stream)).messages == [bytes(100_000)]


async def never_reading(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
    await asyncio.Event().wait()
    yield b""


async def test_streams_that_nobody_reads_are_ended_when_there_is_no_memory_for_them(small: Engine) -> None:
    await small.both(never_reading)
    clients = [await small.greeted() for _ in range(3)]
    tasks = await listening(clients)

    async def pile(client: Client, stream: int, count: int) -> None:
        await client.say(headers(stream, EACH), *(data(stream, bytes(16_000)) for _ in range(count)))

    # One after the other, and the last one less than half of what is free, so that each may hold as much as it wants:
    # together more than one alone may.
    for client, stream, count, least in ((0, 1, 14, 180_000), (0, 3, 12, 400_000), (1, 1, 8, MEMORY // 8)):
        await pile(clients[client], stream, count)
        await soon(lambda least=least: taken(small) > least)
    assert refusals(small) == 0
    for client, stream in ((0, 5), (1, 3), (1, 5), (2, 1), (2, 3), (2, 5)):
        await pile(clients[client], stream, 14)
    await soon(lambda: taken(small) and refusals(small) >= 2)
    assert all(int(fields[b"grpc-status"]) == EXHAUSTED for fields in ends(clients) if b"grpc-status" in fields)
    for task in tasks:
        task.cancel()
    for client in clients:
        await client.close()
    await soon(lambda: taken(small) < IDLE)


async def test_small_frames_count_for_what_they_take_though_they_come_with_their_streams_head(small: Engine) -> None:
    """All of it is one read of the socket; the handler reads the first message, and none of the bytes of the second."""
    await small.both(never_reading)
    client = await small.greeted()
    tasks = await listening([client])
    begun = data(1, prefixed(b"first") + b"\0" + (9_000).to_bytes(4, "big"))
    before = taken(small)
    await client.say(headers(1, EACH) + begun + b"".join(data(1, b"x") for _ in range(250)))
    await soon(lambda: taken(small) > before + 250 * SMALL_FRAME)
    for task in tasks:
        task.cancel()
    await client.close()
    await soon(lambda: taken(small) < IDLE)


async def test_answers_that_are_not_read_are_of_the_budget(small: Engine) -> None:
    wire, _ = await small.unary(echo)
    clients = [await small.greeted(0) for _ in range(6)]
    tasks = await listening(clients)
    # Call by call: of many at once those that have no answer yet would end each other.
    for client in clients:
        for stream in range(1, 20, 2):
            await client.say(raw.request(stream, bytes(40_000), "/test.Fake/Do"))
            await soon(lambda client=client, stream=stream: client.of(frames.HEADERS, stream))
    assert refusals(small) >= 10
    assert taken(small) > MEMORY // 8  # of several
    assert (await wire.call("Do", b"x")).messages == [b"x"]
    for task in tasks:
        task.cancel()
    for client in clients:
        await client.close()
    await soon(lambda: taken(small) < IDLE)


async def test_calls_are_of_the_budget_themselves(small: Engine) -> None:
    wire, _ = await small.both(echo_each)
    clients = [await small.client(raw.opening()) for _ in range(4)]
    tasks = await listening(clients)
    for client in clients:
        await client.say(*(headers(stream, EACH) for stream in range(1, 200, 2)))
    await soon(lambda: refusals(small) >= 100)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"x"), end=True)
    assert (await wire.ended(stream)).messages == [b"x"]
    for task in tasks:
        task.cancel()
    for client in clients:
        await client.close()
    await soon(lambda: taken(small) < IDLE)


async def ending(client: Client, how: str) -> None:
    if how == "reset":
        await client.say(rst_stream(1, ErrorCode.CANCEL))
    else:
        await client.close()


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_python_has_what_it_was_given_until_it_has_said_its_last_word(small: Engine, how: str) -> None:
    may_end = asyncio.Event()

    async def reluctant(request: bytes, call: Call) -> bytes:
        try:
            return await forever(request, call)
        finally:
            await may_end.wait()

    _, method = await small.unary(reluctant, quick=False)
    client = await small.greeted()
    await client.say(raw.request(1, bytes(200_000), "/test.Fake/Do"))
    await method.begun.wait()
    await ending(client, how)
    await asyncio.sleep(0.05)
    assert taken(small) > 200_000
    may_end.set()
    await soon(lambda: taken(small) < IDLE)


def test_what_is_not_configured_is_a_fourth_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, most in ((1 << 30, 1 << 28), (1 << 20, 1 << 26), (1 << 40, 1 << 32)):
        monkeypatch.setattr(machine, "memory_bytes", lambda there=there: there)
        assert module._memory_bytes() == most
    assert LimitsConfig().memory_bytes is None
