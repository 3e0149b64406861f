"""Calls with many messages, byte by byte."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from h2.errors import ErrorCodes as ErrorCode

from tests.transport.engine import (
    EXHAUSTED,
    INTERNAL,
    MAX_MESSAGE,
    OK,
    WINDOW,
    Engine,
)
from tests.transport.fakes import count, echo_each
from tests.transport.serving import soon
from tests.transport.socket_wire import prefixed
from turnout_server.transport import engine_calls as module
from turnout_server.transport.call import Call


async def test_answers_come_one_by_one_and_then_the_status(engine: Engine) -> None:
    wire, _ = await engine.out(count)
    answer = await wire.call("Do", b"abc")
    assert answer.headers == {":status": "200", "content-type": "application/grpc"}
    assert (answer.messages, answer.trailers) == ([b"abc"] * 3, {"grpc-status": "0"})


async def test_a_server_that_is_not_read_stops_making_answers(engine: Engine) -> None:
    made = itertools.count()

    async def endless(raw: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        while True:
            next(made)
            yield b"x" * 1_000

    wire, method = await engine.out(endless, window=10_000, reads=False)
    stream = wire.ask("Do")
    answer = wire.answers[stream]
    await wire.until(lambda: len(answer.body) == 10_000)
    await wire.call("Nothing")
    await asyncio.sleep(0.05)
    assert len(answer.body) == 10_000
    assert next(made) < 200
    wire.client.acknowledge_received_data(len(answer.body), stream)
    wire.flush()
    await wire.until(lambda: len(answer.body) == 20_000)
    wire.client.reset_stream(stream)
    wire.flush()
    await method.all_cancelled.wait()
    assert method.cancelled == 1


@pytest.mark.parametrize("end_apart", [True, False])
async def test_messages_may_be_cut_and_joined_in_any_way(engine: Engine, end_apart: bool) -> None:
    wire, _ = await engine.both(echo_each)
    draw = random.Random(5)
    for _ in range(30):
        messages = [draw.randbytes(draw.randrange(20)) for _ in range(draw.randrange(6))]
        body = b"".join(prefixed(message) for message in messages)
        edges = [0, *sorted(draw.randrange(len(body) + 1) for _ in range(6)), len(body)]
        pieces = [body[a:b] for a, b in itertools.pairwise(edges)]
        stream = wire.headers("Do")
        for number, piece in enumerate(pieces, 1):
            wire.client.send_data(stream, piece, end_stream=number == len(pieces) and not end_apart)
            wire.flush()
        if end_apart:
            wire.client.end_stream(stream)
            wire.flush()
        answer = await wire.ended(stream)
        assert (answer.messages, answer.status) == (messages, OK)


async def test_a_handler_begins_with_the_first_message_and_may_speak_before_it_reads_it(engine: Engine) -> None:
    async def greet(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        yield b"welcome"
        async for request in requests:
            yield request

    wire, method = await engine.both(greet)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"thanks")[:-1])
    await wire.call("Nothing")
    assert not method.calls
    wire.send(stream, b"s", end=True)
    assert (await wire.ended(stream)).messages == [b"welcome", b"thanks"]


async def test_a_handler_that_has_heard_enough_ends_the_stream_for_both(engine: Engine) -> None:
    async def first(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        async for request in requests:
            yield request
            return

    wire, _ = await engine.both(first)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"a"))
    answer = await wire.ended(stream)
    assert (answer.messages, answer.status) == ([b"a"], OK)
    assert answer.reset in (None, ErrorCode.NO_ERROR)


@pytest.mark.parametrize("bad", [prefixed(b"x", 9), b"\0" + (MAX_MESSAGE + 1).to_bytes(4, "big")])
async def test_a_bad_message_ends_the_call_after_the_answers_that_went_out(engine: Engine, bad: bytes) -> None:
    wire, method = await engine.both(echo_each)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"a"))
    await wire.until(lambda: wire.answers[stream].body)
    wire.send(stream, bad)
    answer = await wire.ended(stream)
    assert answer.messages == [b"a"]
    assert answer.status in (INTERNAL, EXHAUSTED)
    await method.all_cancelled.wait()


def sizes_after(release: asyncio.Event) -> Any:
    """Return a handler that takes nothing until *release*, and then answers each message with its size."""

    async def slow(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        await release.wait()
        async for request in requests:
            yield b"%d" % len(request)

    return slow


async def test_a_handler_that_does_not_read_stops_its_client_and_nobody_else(engine: Engine) -> None:
    release = asyncio.Event()
    wire, _ = await engine.both(sizes_after(release))
    stream = wire.headers("Do")
    message = prefixed(b"x" * (WINDOW // 8 - 5))
    for _ in range(8):
        wire.send(stream, message)
    other = wire.headers("Do", end=True)
    await wire.until(lambda: wire.answers[stream].ended or other in wire.answers)
    assert wire.room(stream) == 0
    release.set()
    await wire.until(lambda: wire.room(stream) >= WINDOW // 2)
    wire.client.end_stream(stream)
    wire.flush()
    assert len((await wire.ended(stream)).messages) == 8


async def test_a_long_stream_never_runs_out_of_room(engine: Engine) -> None:
    wire, _ = await engine.both(echo_each)
    stream = wire.headers("Do")
    sizes = [1, 300, WINDOW - 5, WINDOW - 4, 500_000, 0, MAX_MESSAGE, 1_000, 170_000, 7] * 2
    for size in sizes:
        await wire.upload(stream, prefixed(b"m" * size), end=False)
    wire.client.end_stream(stream)
    wire.flush()
    answer = await wire.ended(stream)
    assert [len(message) for message in answer.messages] == sizes


async def test_a_large_message_that_nobody_asks_for_gets_no_room(engine: Engine) -> None:
    """Else a client that reads no answers, so that its requests are not taken either, could fill the memory."""
    release = asyncio.Event()
    wire, _ = await engine.both(sizes_after(release))
    first, body = prefixed(b""), prefixed(b"x" * MAX_MESSAGE)
    unasked = WINDOW - len(first)
    stream = wire.headers("Do")
    wire.send(stream, first + body[:unasked])
    await wire.call("Nothing")
    assert wire.room(stream) == 0
    release.set()
    await wire.upload(stream, body[unasked:])
    assert (await wire.ended(stream)).messages == [b"0", b"%d" % MAX_MESSAGE]


async def test_a_reset_is_heard_by_a_handler_that_waits_for_messages(engine: Engine) -> None:
    wire, method = await engine.both(echo_each)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"x"))
    await method.begun.wait()
    wire.client.reset_stream(stream)
    wire.flush()
    await method.all_cancelled.wait()
    assert method.cancelled == 1


async def test_when_the_gate_closes_what_was_sent_is_answered_and_no_more_awaited(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_TRANSIT_S", 0.5)
    release = asyncio.Event()

    async def slow(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        await release.wait()
        async for request in requests:
            yield request

    wire, method = await engine.both(slow)
    busy, waiting = wire.headers("Do"), wire.headers("Do")
    wire.send(busy, prefixed(b"a") + prefixed(b"b"))
    wire.send(waiting, prefixed(b"c"))
    await soon(lambda: len(method.calls) == 2)
    release.set()
    method.gate.close()
    answer = await wire.ended(busy)
    assert (answer.messages, (await wire.ended(waiting)).messages) == ([b"a", b"b"], [b"c"])
    assert not method.gate._when_closing
