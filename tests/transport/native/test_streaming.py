"""Streaming calls, byte by byte where that matters."""

from __future__ import annotations

import asyncio
import gzip
import itertools
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transport.native.fakes import Answers, Behaviour, FakeMethod, count, echo_each, failing
from tests.transport.native.wire import MAX_MESSAGE, Wire, prefixed
from turnout_server.http2.codes import ErrorCode
from turnout_server.http2.server import Limits
from turnout_server.transport.call import Call

OK, EXPIRED, EXHAUSTED, ABORTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 4, 8, 10, 12, 13, 14


def out(act: Answers, **options: Any) -> tuple[Wire, FakeMethod]:
    """A method with many messages out."""
    behaviour = Behaviour()
    method = behaviour.server_stream("Do", act)
    return Wire(behaviour, **options), method


def both(act: Answers, **options: Any) -> tuple[Wire, FakeMethod]:
    """A method with many messages each way."""
    behaviour = Behaviour()
    method = behaviour.both_stream("Do", act)
    return Wire(behaviour, **options), method


def asked(wire: Wire, message: bytes, *fields: tuple[str, str]) -> int:
    stream = wire.headers("Do", fields)
    wire.send(stream, prefixed(message), end=True)
    wire.exchange()
    return stream


# ---------------------------------------------------------------- one message in, many out


async def test_answers_come_one_by_one_and_then_the_status() -> None:
    wire, _ = out(count)
    answer = await wire.ended(asked(wire, b"abc"))
    assert answer.headers == {":status": "200", "content-type": "application/grpc"}
    assert answer.messages == [b"abc"] * 3
    assert answer.trailers == {"grpc-status": "0"}
    assert not wire.peer.streams


async def test_without_any_answer_headers_and_trailers_are_one() -> None:
    wire, _ = out(count)
    answer = await wire.ended(asked(wire, b""))
    assert (answer.status, answer.body, answer.trailers) == (OK, b"", {})


@pytest.mark.parametrize("answers_before", [0, 2])
async def test_a_failure_comes_after_what_was_answered(answers_before: int) -> None:
    async def act(raw: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        for _ in range(answers_before):
            yield b"x"
        raise failing(grpc.StatusCode.ABORTED, "no more", (("x-why", "because"),))

    wire, _ = out(act)
    answer = await wire.ended(asked(wire, b""))
    assert answer.messages == [b"x"] * answers_before
    assert (answer.status, answer.message) == (ABORTED, "no more")
    assert ":status" not in answer.trailers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", UNIMPLEMENTED),
        (prefixed(b"a") + prefixed(b"b"), UNIMPLEMENTED),
        (prefixed(b"abc")[:-1], INTERNAL),
        (prefixed(b"abc", 7), INTERNAL),
        (b"\0" + (MAX_MESSAGE + 1).to_bytes(4, "big"), EXHAUSTED),
    ],
)
async def test_a_body_that_is_not_one_message_is_refused_and_not_handled(body: bytes, status: int) -> None:
    wire, method = out(count)
    stream = wire.headers("Do")
    wire.send(stream, body, end=True)
    assert (await wire.ended(stream)).status == status
    assert not method.calls


async def test_a_server_that_is_not_read_stops_making_answers() -> None:
    made = itertools.count()

    async def endless(raw: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        while True:
            next(made)
            yield b"x" * 1_000

    wire, method = out(endless, window=10_000, reads=False)
    stream = asked(wire, b"")
    await method.begun.wait()
    await wire.turns_until(lambda: wire.peer.waiting)
    wire.exchange()
    body = wire.answers[stream].body
    assert len(body) == 10_000
    for _ in range(100):
        await asyncio.sleep(0)
    assert next(made) == 10
    wire.client.acknowledge_received_data(len(body), stream)
    await wire.until(lambda: len(wire.answers[stream].body) == 20_000)
    wire.client.reset_stream(stream)
    wire.exchange()
    await wire.turns_until(lambda: not wire.peer.lingering)
    assert method.cancelled == 1
    assert (wire.peer.unsent, len(wire.peer.waiting)) == (0, 0)


async def test_a_connection_that_does_not_take_more_stops_its_streams_until_it_does() -> None:
    made = itertools.count()

    async def endless(raw: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        while True:
            next(made)
            yield b"x"

    wire, method = out(endless)
    wire.peer.paused = True
    asked(wire, b"")
    await method.begun.wait()
    for _ in range(100):
        await asyncio.sleep(0)
    assert next(made) == 1
    wire.peer.go_on()
    for _ in range(10):
        await asyncio.sleep(0)
    assert next(made) > 2
    wire.peer.lose_everything()
    await method.all_cancelled.wait()


@pytest.mark.parametrize("read", [True, False])
async def test_a_deadline_ends_a_stream_whether_its_answers_are_read_or_not(read: bool) -> None:
    async def endless(raw: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        yield b"x" * 100
        await asyncio.get_running_loop().create_future()

    wire, method = out(endless, window=10, reads=read)
    stream = asked(wire, b"", ("grpc-timeout", "5S"))
    await wire.until(lambda: wire.answers[stream].body)
    wire.peer.streams[stream].expire()  # type: ignore[attr-defined]
    answer = await wire.ended(stream)
    assert answer.status == EXPIRED
    assert ":status" not in answer.trailers
    await method.all_cancelled.wait()
    assert wire.peer.unsent == 0


# ---------------------------------------------------------------- many messages each way


async def test_each_message_is_answered_before_the_next_is_sent() -> None:
    wire, _ = both(echo_each)
    stream = wire.headers("Do")
    answer = wire.answers[stream]
    for number in range(3):
        wire.send(stream, prefixed(b"%d" % number))
        await wire.until(lambda number=number: len(answer.body) == 6 * (number + 1))
    wire.client.end_stream(stream)
    await wire.ended(stream)
    assert (answer.messages, answer.status) == ([b"0", b"1", b"2"], OK)


@given(st.lists(st.binary(max_size=20), max_size=6), st.lists(st.integers(0, 200), max_size=8), st.booleans())
def test_messages_may_be_cut_and_joined_in_any_way(messages: list[bytes], places: list[int], end_apart: bool) -> None:
    async def run() -> None:
        wire, _ = both(echo_each)
        stream = wire.headers("Do")
        body = b"".join(prefixed(message) for message in messages)
        edges = [0, *sorted(min(place, len(body)) for place in places), len(body)]
        pieces = [body[a:b] for a, b in itertools.pairwise(edges)]
        for number, piece in enumerate(pieces, 1):
            wire.client.send_data(stream, piece, end_stream=number == len(pieces) and not end_apart)
            wire.exchange()
        if end_apart:
            wire.client.end_stream(stream)
        answer = await wire.ended(stream)
        assert (answer.messages, answer.status) == (messages, OK)

    asyncio.run(run())


async def test_a_handler_begins_before_the_client_has_said_anything() -> None:
    async def greet(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        yield b"welcome"
        async for request in requests:
            yield request

    wire, _ = both(greet)
    stream = wire.headers("Do")
    await wire.until(lambda: wire.answers[stream].body)
    wire.send(stream, prefixed(b"thanks"), end=True)
    assert (await wire.ended(stream)).messages == [b"welcome", b"thanks"]


async def test_a_stream_may_end_with_its_headers() -> None:
    wire, _ = both(echo_each)
    answer = await wire.ended(wire.headers("Do", end=True))
    assert (answer.status, answer.body) == (OK, b"")


async def test_a_handler_that_has_heard_enough_ends_the_stream_for_both() -> None:
    async def first(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        async for request in requests:
            yield request
            return

    wire, _ = both(first)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"a"))
    answer = await wire.ended(stream)
    assert (answer.messages, answer.status) == ([b"a"], OK)
    assert answer.reset in (None, ErrorCode.NO_ERROR)
    assert not wire.peer.streams


@pytest.mark.parametrize("bad", [prefixed(b"x", 9), b"\0" + (MAX_MESSAGE + 1).to_bytes(4, "big")])
async def test_a_bad_message_ends_the_call_after_the_answers_that_went_out(bad: bytes) -> None:
    wire, method = both(echo_each)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"a"))
    await wire.until(lambda: wire.answers[stream].body)
    wire.send(stream, bad)
    answer = await wire.ended(stream)
    assert answer.messages == [b"a"]
    assert answer.status in (INTERNAL, EXHAUSTED)
    await wire.turns_until(lambda: not wire.peer.lingering)
    assert method.all_cancelled.is_set()


async def test_compressed_messages_come_in_their_order() -> None:
    wire, _ = both(echo_each)
    stream = wire.headers("Do", [("grpc-encoding", "gzip")])
    for message in (prefixed(gzip.compress(b"a"), 1), prefixed(b"b"), prefixed(gzip.compress(b"c"), 1)):
        wire.send(stream, message)
    wire.client.end_stream(stream)
    assert (await wire.ended(stream)).messages == [b"a", b"b", b"c"]


async def test_a_handler_that_does_not_read_stops_its_client_and_nobody_else() -> None:
    release = asyncio.Event()

    async def slow(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        await release.wait()
        async for request in requests:
            yield request[:1]

    wire, _ = both(slow, limits=Limits(window=1_000))
    stream, other = wire.headers("Do"), wire.headers("Do")
    message = prefixed(b"x" * 95)
    for _ in range(10):
        wire.send(stream, message)
    await asyncio.sleep(0)
    wire.exchange()
    assert wire.room(stream) == 0
    assert wire.room(other) == 1_000
    release.set()
    await wire.until(lambda: wire.room(stream) >= 500)
    wire.client.end_stream(stream)
    assert len((await wire.ended(stream)).messages) == 10


async def test_a_long_stream_never_runs_out_of_room() -> None:
    wire, _ = both(echo_each, limits=Limits(window=1_000))
    stream = wire.headers("Do")
    sizes = [1, 300, 995, 996, 5_000, 0, 20_000, 1_000, 50_000, 7] * 3
    for size in sizes:
        body = prefixed(b"m" * size)
        while body:
            await wire.until(lambda: wire.room(stream))
            room = min(wire.room(stream), 16_384)
            wire.client.send_data(stream, body[:room])
            body = body[room:]
            wire.exchange()
    await wire.turns_until(lambda: len(wire.peer.streams[stream]._queue) == 0)  # type: ignore[attr-defined]
    wire.exchange()
    assert wire.peer.streams[stream].receivable <= 1_000
    wire.client.end_stream(stream)
    answer = await wire.ended(stream)
    assert [len(message) for message in answer.messages] == sizes
    assert wire.peer.reservations._free == 2 * MAX_MESSAGE


def sizes_after(release: asyncio.Event) -> Any:
    """Return a handler that takes nothing until *release*, and then answers each message with its size."""

    async def slow(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        await release.wait()
        async for request in requests:
            yield b"%d" % len(request)

    return slow


async def test_there_is_room_for_a_large_message_only_once_those_before_it_are_taken() -> None:
    release = asyncio.Event()
    wire, _ = both(sizes_after(release), limits=Limits(window=1_000))
    stream = wire.headers("Do")
    both_messages = prefixed(b"small") + prefixed(b"x" * 100_000)
    wire.send(stream, both_messages[:1_000])
    await asyncio.sleep(0)
    wire.exchange()
    assert wire.room(stream) == 0
    release.set()
    await wire.until(lambda: wire.room(stream) >= len(both_messages) - 1_000)
    wire.upload(stream, both_messages[1_000:])
    assert (await wire.ended(stream)).messages == [b"5", b"100000"]


async def test_a_large_message_that_nobody_takes_keeps_its_room() -> None:
    """Else a client that reads no answers, so that its requests are not taken either, could fill the memory."""
    release = asyncio.Event()
    wire, _ = both(sizes_after(release), limits=Limits(window=1_000))
    body = prefixed(b"x" * (MAX_MESSAGE - 10))
    streams = [wire.headers("Do") for _ in range(3)]
    for stream in streams:
        wire.send(stream, body[:1_000])
        wire.exchange()
    for stream in streams[:2]:
        wire.upload(stream, body[1_000:])
    assert wire.room(streams[2]) == 0
    wire.client.reset_stream(streams[0])
    wire.exchange()
    assert wire.room(streams[2]) == len(body) - 1_000
    release.set()
    wire.upload(streams[2], body[1_000:])
    assert [(await wire.ended(stream)).messages for stream in streams[1:]] == [[b"%d" % (MAX_MESSAGE - 10)]] * 2
    assert wire.peer.reservations._free == 2 * MAX_MESSAGE


async def test_a_reset_is_heard_by_a_handler_that_waits_for_messages() -> None:
    wire, method = both(echo_each)
    stream = wire.headers("Do")
    wire.exchange()
    await method.begun.wait()
    wire.client.reset_stream(stream)
    wire.exchange()
    await wire.turns_until(lambda: not wire.peer.lingering)
    assert method.cancelled == 1


async def test_when_the_gate_closes_what_was_sent_is_answered_and_no_more_awaited() -> None:
    release = asyncio.Event()

    async def slow(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        await release.wait()
        async for request in requests:
            yield request

    wire, method = both(slow)
    busy, waiting = wire.headers("Do"), wire.headers("Do")
    wire.send(busy, prefixed(b"a") + prefixed(b"b"))
    wire.exchange()
    await wire.turns_until(lambda: len(method.calls) == 2)
    release.set()
    method.gate.close()
    answer = await wire.ended(busy)
    assert (answer.messages, (await wire.ended(waiting)).messages) == ([b"a", b"b"], [])
    assert not method.gate._when_closing
