"""Unary calls, byte by byte where that matters."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transport.native.fakes import Behaviour, FakeMethod, echo, failing, forever
from tests.transport.native.wire import MAX_MESSAGE, Wire, prefixed
from turnout_server.http2.codes import ErrorCode
from turnout_server.http2.server import Limits
from turnout_server.transport.call import Call

OK, CANCELLED, EXPIRED, EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 1, 4, 8, 12, 13, 14
UNARY = pytest.mark.parametrize("quick", [True, False])


def wire_to(
    act: Callable[[bytes, Call], Awaitable[bytes]], quick: bool = True, **options: Any
) -> tuple[Wire, FakeMethod]:
    behaviour = Behaviour()
    method = behaviour.unary("Do", act, quick)
    return Wire(behaviour, **options), method


async def test_a_quick_call_is_answered_in_the_turn_in_which_it_came() -> None:
    wire, _ = wire_to(echo)
    answer = wire.call("Do", b"hello")
    assert answer.headers == {":status": "200", "content-type": "application/grpc"}
    assert answer.messages == [b"hello"]
    assert answer.trailers == {"grpc-status": "0"}
    assert answer.ended
    assert not wire.peer.streams


async def test_another_call_is_a_task() -> None:
    wire, _ = wire_to(echo, quick=False)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"hello"), end=True)
    wire.exchange()
    assert not wire.answers[stream].ended
    answer = await wire.ended(stream)
    assert (answer.messages, answer.status) == ([b"hello"], OK)


async def test_a_quick_call_that_has_to_wait_is_answered_later() -> None:
    waited: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def act(raw: bytes, call: Call) -> bytes:
        return raw + await waited

    wire, _ = wire_to(act)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"a"), end=True)
    wire.exchange()
    assert not wire.answers[stream].body
    waited.set_result(b"b")
    answer = await wire.ended(stream)
    assert (answer.messages, answer.status) == ([b"ab"], OK)


@given(st.lists(st.integers(0, 10), max_size=5), st.booleans(), st.booleans())
def test_a_body_may_come_in_any_pieces(places: list[int], end_apart: bool, announced: bool) -> None:
    async def run() -> None:
        wire, _ = wire_to(echo)
        body = prefixed(b"hello")
        stream = wire.headers("Do", [("content-length", str(len(body)))] if announced else [])
        edges = [0, *sorted(min(place, len(body)) for place in places), len(body)]
        pieces = [body[a:b] for a, b in itertools.pairwise(edges)]
        for number, piece in enumerate(pieces, 1):
            wire.client.send_data(stream, piece, end_stream=number == len(pieces) and not end_apart)
            wire.exchange()
        if end_apart:
            wire.client.end_stream(stream)
            wire.exchange()
        assert (wire.answers[stream].messages, wire.answers[stream].status) == ([b"hello"], OK)

    asyncio.run(run())


async def test_trailers_of_a_request_end_it() -> None:
    wire, _ = wire_to(echo)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"hello"))
    wire.client.send_headers(stream, [("x-checksum", "1")], end_stream=True)
    wire.exchange()
    assert wire.answers[stream].messages == [b"hello"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", UNIMPLEMENTED),
        (prefixed(b"a") + prefixed(b"b"), UNIMPLEMENTED),
        (prefixed(b"a") + b"\0", INTERNAL),
        (prefixed(b"abc")[:-1], INTERNAL),
        (b"\0\0", INTERNAL),
        (prefixed(b"abc", 2), INTERNAL),
        (prefixed(b"not compressed", 1), INTERNAL),
        (b"\0" + (MAX_MESSAGE + 1).to_bytes(4, "big"), EXHAUSTED),
        (b"\xff" * 100, INTERNAL),
    ],
)
async def test_a_body_that_is_not_one_message_is_refused_and_not_handled(body: bytes, status: int) -> None:
    wire, method = wire_to(echo)
    stream = wire.headers("Do")
    wire.send(stream, body, end=True)
    answer = await wire.ended(stream)
    assert (answer.status, answer.body) == (status, b"")
    assert not method.calls
    assert wire.call("Do", b"next").messages == [b"next"]


async def test_too_large_a_message_is_refused_before_it_is_sent() -> None:
    wire, _ = wire_to(echo)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"x" * (MAX_MESSAGE + 1))[:100])
    wire.exchange()
    answer = wire.answers[stream]
    assert answer.status == EXHAUSTED
    assert answer.message == f"Received message larger than max ({MAX_MESSAGE + 1} vs. {MAX_MESSAGE})"
    assert answer.headers["grpc-retry-pushback-ms"] == "-1"
    assert answer.reset in (None, ErrorCode.NO_ERROR)
    assert not wire.peer.streams


@pytest.mark.parametrize("length", [4, 11])
async def test_a_body_of_another_length_than_announced_is_reset(length: int) -> None:
    wire, method = wire_to(echo)
    stream = wire.headers("Do", [("content-length", str(length))])
    wire.push(wire.client.data_to_send())
    # h2 would not send such a body itself.
    wire.push(data_frame(stream, prefixed(b"hello"), end=True))
    assert wire.answers[stream].reset == ErrorCode.PROTOCOL_ERROR
    assert not method.calls
    assert wire.call("Do", b"next").messages == [b"next"]


def data_frame(stream: int, payload: bytes, end: bool = False) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((0, int(end))) + stream.to_bytes(4, "big") + payload


# ---------------------------------------------------------------- sizes and windows


@pytest.mark.parametrize("size", [16_378, 16_379, 16_380, 65_530, 65_531, 200_000, MAX_MESSAGE])
async def test_an_answer_of_any_size_arrives_whole(size: int) -> None:
    message = (b"0123456789abcdef" * (size // 16 + 1))[:size]

    async def act(raw: bytes, call: Call) -> bytes:
        return message

    wire, _ = wire_to(act)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b""), end=True)
    wire.exchange()
    answer = wire.answers[stream]
    assert answer.messages == [message]
    assert (answer.status, answer.ended) == (OK, True)
    assert wire.peer.unsent == 0


async def test_a_client_without_any_window_gets_its_answer_once_it_has_one() -> None:
    wire, _ = wire_to(echo, window=0, reads=False)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"hello"), end=True)
    wire.exchange()
    answer = wire.answers[stream]
    assert answer.headers[":status"] == "200"
    assert answer.body == b""
    wire.client.increment_flow_control_window(4, stream)
    wire.exchange()
    assert (answer.body, answer.ended) == (prefixed(b"hello")[:4], False)
    wire.client.increment_flow_control_window(100, stream)
    wire.exchange()
    assert (answer.messages, answer.status) == ([b"hello"], OK)


async def test_an_answer_that_is_not_read_does_not_stop_others() -> None:
    async def act(raw: bytes, call: Call) -> bytes:
        return raw * 1_000

    wire, _ = wire_to(act, window=100, reads=False)
    stuck = wire.call("Do", b"x")
    assert not stuck.ended
    assert wire.call("Do", b"").messages == [b""]


async def test_who_leaves_too_many_answers_unread_is_asked_to_read_first() -> None:
    wire, method = wire_to(echo, limits=Limits(unsent=1_000), window=0, reads=False)
    unread = wire.call("Do", b"x" * 2_000)
    assert wire.call("Do", b"y").status == EXHAUSTED
    assert len(method.calls) == 1
    wire.client.increment_flow_control_window(10_000, 1)
    wire.exchange()
    assert unread.status == OK
    wire.call("Do", b"z")
    assert len(method.calls) == 2


async def test_a_message_larger_than_the_window_gets_room_for_just_itself() -> None:
    wire, _ = wire_to(echo, limits=Limits(window=1_000))
    stream = wire.headers("Do")
    body = prefixed(b"x" * 100_000)
    wire.send(stream, body[:1_000])
    wire.exchange()
    assert wire.room(stream) == len(body) - 1_000
    wire.upload(stream, body[1_000:])
    assert wire.answers[stream].messages == [b"x" * 100_000]


async def test_large_messages_take_turns_when_there_is_no_room_for_all() -> None:
    wire, _ = wire_to(echo, limits=Limits(window=1_000), max_message=10_000)
    streams = [wire.headers("Do") for _ in range(3)]
    for stream in streams:
        wire.send(stream, prefixed(b"x" * 10_000)[:1_000])
    wire.exchange()
    assert [wire.room(stream) for stream in streams] == [9_005, 9_005, 0]
    wire.upload(streams[0], prefixed(b"x" * 10_000)[1_000:])
    assert wire.answers[streams[0]].status == OK
    assert wire.room(streams[2]) == 9_005


@pytest.mark.parametrize("end", ["reset", "expire", "too large"])
async def test_room_of_a_message_that_never_comes_whole_goes_to_the_next(end: str) -> None:
    wire, _ = wire_to(echo, limits=Limits(window=1_000), max_message=10_000)
    streams = [wire.headers("Do", [("grpc-timeout", "5S")]) for _ in range(3)]
    for stream in streams:
        wire.send(stream, prefixed(b"x" * 10_000)[:1_000])
    wire.exchange()
    first = streams[0]
    if end == "reset":
        wire.client.reset_stream(first)
    elif end == "expire":
        wire.peer.streams[first].expire()  # type: ignore[attr-defined]
    else:
        wire.send(first, b"x" * 9_005)
        wire.client.end_stream(first)
    wire.exchange()
    assert wire.room(streams[2]) == 9_005


async def test_a_client_that_goes_gives_everything_back() -> None:
    wire, method = wire_to(forever, limits=Limits(window=1_000), max_message=10_000)
    for body in (prefixed(b"x" * 10_000)[:1_000], prefixed(b"y")):
        stream = wire.headers("Do", [("grpc-timeout", "5S")])
        wire.send(stream, body, end=len(body) < 100)
    wire.exchange()
    wire.peer.lose_everything()
    await asyncio.wait_for(method.all_cancelled.wait(), 30)
    assert method.cancelled == 1
    assert wire.peer.lingering == 0
    assert wire.peer.reservations._free == 20_000


# ---------------------------------------------------------------- compression


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@UNARY
async def test_compressed_messages_are_taken(encoding: str, compress: Callable[[bytes], bytes], quick: bool) -> None:
    wire, _ = wire_to(echo, quick)
    stream = wire.headers("Do", [("grpc-encoding", encoding)])
    wire.send(stream, prefixed(compress(b"hello"), 1), end=True)
    answer = await wire.ended(stream)
    assert (answer.messages, answer.status) == ([b"hello"], OK)


async def test_a_message_may_be_sent_as_it_is_where_others_are_compressed() -> None:
    wire, _ = wire_to(echo)
    assert wire.call("Do", b"plain", [("grpc-encoding", "gzip")]).messages == [b"plain"]


async def test_a_bomb_ends_its_call_and_no_other() -> None:
    wire, method = wire_to(echo)
    stream = wire.headers("Do", [("grpc-encoding", "gzip")])
    wire.send(stream, prefixed(gzip.compress(bytes(MAX_MESSAGE + 1)), 1), end=True)
    assert (await wire.ended(stream)).status == EXHAUSTED
    assert not method.calls
    assert wire.call("Do", b"next").status == OK


async def test_a_client_may_go_while_its_message_is_unpacked() -> None:
    wire, method = wire_to(echo)
    stream = wire.headers("Do", [("grpc-encoding", "gzip")])
    wire.send(stream, prefixed(gzip.compress(b"x"), 1), end=True)
    wire.client.reset_stream(stream)
    wire.exchange()
    assert wire.peer.lingering == 1
    stream = wire.headers("Do", [("grpc-encoding", "gzip")])
    wire.send(stream, prefixed(gzip.compress(b"y"), 1), end=True)
    assert (await wire.ended(stream)).messages == [b"y"]
    assert wire.peer.lingering == 0
    assert len(method.calls) == 1


# ---------------------------------------------------------------- how calls end


@UNARY
async def test_a_failure_is_a_status_with_its_trailers(quick: bool) -> None:
    async def act(raw: bytes, call: Call) -> bytes:
        raise failing(grpc.StatusCode.ABORTED, "50% wrong", (("x-why", "because"), ("x-data-bin", b"\0\1\2\3")))

    wire, _ = wire_to(act, quick)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b""), end=True)
    answer = await wire.ended(stream)
    assert (answer.status, answer.message, answer.body) == (10, "50%25 wrong", b"")
    assert (answer.headers["x-why"], answer.headers["x-data-bin"]) == ("because", "AAECAw")


@UNARY
@pytest.mark.parametrize("late", [False, True])
async def test_what_nobody_expected_is_internal_and_says_nothing(quick: bool, late: bool) -> None:
    async def act(raw: bytes, call: Call) -> bytes:
        if late:
            await asyncio.sleep(0)
        raise ZeroDivisionError("secret")

    wire, _ = wire_to(act, quick)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b""), end=True)
    answer = await wire.ended(stream)
    assert answer.status == INTERNAL
    assert "secret" not in str(answer.headers)


@UNARY
@pytest.mark.parametrize("late", [False, True])
async def test_a_handler_that_is_cancelled_from_within_ends_its_call_and_not_the_connection(
    quick: bool, late: bool
) -> None:
    gone: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    if not late:
        gone.cancel()

    async def act(raw: bytes, call: Call) -> bytes:
        return await gone if raw else b"fine"

    wire, _ = wire_to(act, quick)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"x"), end=True)
    wire.exchange()
    gone.cancel()
    assert (await wire.ended(stream)).status == UNAVAILABLE
    other = wire.headers("Do")
    wire.send(other, prefixed(b""), end=True)
    assert (await wire.ended(other)).messages == [b"fine"]


@UNARY
async def test_a_deadline_that_passes_is_answered_and_cancels_the_handler(quick: bool) -> None:
    wire, method = wire_to(forever, quick)
    stream = wire.headers("Do", [("grpc-timeout", "5S")])
    wire.send(stream, prefixed(b""), end=True)
    wire.exchange()
    assert len(wire.deadlines) == 1
    await method.begun.wait()
    assert method.calls[0].deadline == wire.now + 5.0
    wire.peer.streams[stream].expire()  # type: ignore[attr-defined]
    answer = await wire.ended(stream)
    assert (answer.status, answer.message) == (EXPIRED, "Deadline Exceeded")
    await method.all_cancelled.wait()
    assert method.cancelled == 1


async def test_the_deadline_holds_for_a_request_that_never_comes_whole() -> None:
    wire, method = wire_to(echo)
    stream = wire.headers("Do", [("grpc-timeout", "1n")])
    wire.send(stream, prefixed(b"hello")[:7])
    wire.exchange()
    wire.now += 1
    assert (await wire.ended(stream)).status == EXPIRED
    assert not method.calls


async def test_a_call_that_ended_has_no_deadline_any_more() -> None:
    wire, _ = wire_to(echo, quick=False)
    stream = wire.headers("Do", [("grpc-timeout", "5S")])
    wire.send(stream, prefixed(b""), end=True)
    await wire.ended(stream)
    assert [entry.call for entry in wire.deadlines._heap] == [None]


@UNARY
async def test_a_reset_cancels_the_handler_which_counts_until_it_is_over(quick: bool) -> None:
    release = asyncio.Event()

    async def stubborn(raw: bytes, call: Call) -> bytes:
        try:
            return await forever(raw, call)
        finally:
            await release.wait()

    wire, method = wire_to(stubborn, quick)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b""), end=True)
    wire.exchange()
    await method.begun.wait()
    wire.client.reset_stream(stream)
    wire.exchange()
    assert not wire.peer.streams
    assert wire.peer.lingering == 1
    release.set()
    await method.all_cancelled.wait()
    await asyncio.sleep(0)
    assert wire.peer.lingering == 0


async def test_streams_that_are_reset_count_as_long_as_their_handlers_run() -> None:
    release = asyncio.Event()

    async def stubborn(raw: bytes, call: Call) -> bytes:
        try:
            return await forever(raw, call)
        finally:
            await release.wait()

    wire, method = wire_to(stubborn, limits=Limits(streams=3))
    for _ in range(10):
        stream = wire.headers("Do")
        wire.send(stream, prefixed(b""), end=True)
        wire.client.reset_stream(stream)
        wire.exchange()
    assert len(method.calls) == 3
    release.set()
    await method.all_cancelled.wait()


async def test_an_answer_after_the_client_left_is_dropped() -> None:
    release = asyncio.Event()

    async def deaf(raw: bytes, call: Call) -> bytes:
        try:
            await forever(raw, call)
        except asyncio.CancelledError:
            await release.wait()
        return b"too late"

    wire, method = wire_to(deaf)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b""), end=True)
    wire.client.reset_stream(stream)
    wire.exchange()
    release.set()
    await method.all_cancelled.wait()
    await asyncio.sleep(0)
    assert wire.peer.take() == []
    assert wire.peer.lingering == 0
