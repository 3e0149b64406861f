"""Calls with one message each way, byte by byte."""

from __future__ import annotations

import gzip
import itertools
import zlib
from typing import Any

import pytest
from h2.errors import ErrorCodes as ErrorCode

from tests.transport.engine import (
    EXHAUSTED,
    EXPIRED,
    MAX_MESSAGE,
    OK,
    UNARY,
    WINDOW,
    Engine,
)
from tests.transport.fakes import echo
from tests.transport.socket_wire import prefixed
from turnout_server.transport.call import Call

ENCODINGS: Any = pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)


@pytest.mark.parametrize("end_apart", [True, False])
async def test_a_body_may_come_in_any_pieces(engine: Engine, end_apart: bool) -> None:
    wire, _ = await engine.unary(echo)
    body = prefixed(b"hello")
    for places in itertools.combinations(range(len(body) + 1), 2):
        stream = wire.headers("Do", [("content-length", str(len(body)))] if sum(places) % 2 else [])
        pieces = [body[: places[0]], body[places[0] : places[1]], body[places[1] :]]
        for number, piece in enumerate(pieces, 1):
            wire.client.send_data(stream, piece, end_stream=number == 3 and not end_apart)
            wire.flush()
        if end_apart:
            wire.client.end_stream(stream)
            wire.flush()
        answer = await wire.ended(stream)
        assert (answer.messages, answer.status) == ([b"hello"], OK)


async def test_too_large_a_message_is_refused_before_it_is_sent(engine: Engine) -> None:
    wire, _ = await engine.unary(echo)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"x" * (MAX_MESSAGE + 1))[:100])
    answer = await wire.ended(stream)
    assert answer.status == EXHAUSTED
    assert answer.message == f"Received message larger than max ({MAX_MESSAGE + 1} vs. {MAX_MESSAGE})"
    assert answer.headers["grpc-retry-pushback-ms"] == "-1"
    assert answer.reset in (None, ErrorCode.NO_ERROR)


@pytest.mark.parametrize("size", [16_378, 16_379, 16_380, 65_530, 65_531, 200_000, MAX_MESSAGE])
async def test_a_message_of_any_size_comes_and_goes_whole(engine: Engine, size: int) -> None:
    message = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    wire, _ = await engine.unary(echo)
    stream = wire.headers("Do")
    await wire.upload(stream, prefixed(message))
    answer = await wire.ended(stream)
    assert (answer.messages, answer.status, answer.ended) == ([message], OK, True)


@pytest.mark.parametrize("size", [5, 100_000])
async def test_a_client_without_any_window_gets_its_answer_once_it_has_one(engine: Engine, size: int) -> None:
    async def act(raw: bytes, call: Call) -> bytes:
        return b"x" * size

    wire, _ = await engine.unary(act, window=0, reads=False)
    stuck = wire.ask("Do")
    answer = wire.answers[stuck]
    await wire.until(lambda: answer.headers)
    assert answer.body == b""
    wire.client.increment_flow_control_window(4, stuck)
    wire.flush()
    await wire.until(lambda: answer.body)
    assert (len(answer.body), answer.ended) == (4, False)
    wire.client.increment_flow_control_window(size + 1, stuck)
    wire.flush()
    wire.client.increment_flow_control_window(size + 1)
    wire.flush()
    assert (await wire.ended(stuck)).messages == [b"x" * size]


async def test_an_answer_that_is_not_read_does_not_stop_others(engine: Engine) -> None:
    async def act(raw: bytes, call: Call) -> bytes:
        return raw * 1_000

    wire, _ = await engine.unary(act, window=100, reads=False)
    stuck = wire.answers[wire.ask("Do", b"x")]
    assert (await wire.call("Do", b"")).messages == [b""]
    assert not stuck.ended


async def test_large_messages_take_turns_when_there_is_no_room_for_all(engine: Engine) -> None:
    wire, _ = await engine.unary(echo)
    body = prefixed(b"x" * MAX_MESSAGE)
    streams = [wire.headers("Do") for _ in range(3)]
    for stream in streams:
        wire.send(stream, body[: WINDOW - 1_000])
    await wire.until(lambda: all(wire.room(stream) > 1_000 for stream in streams[:2]))
    other = await wire.call("Do", b"small")
    assert (other.messages, wire.room(streams[2])) == ([b"small"], 1_000)
    await wire.upload(streams[0], body[WINDOW - 1_000 :])
    assert (await wire.ended(streams[0])).status == OK
    await wire.until(lambda: wire.room(streams[2]) > 1_000)


@pytest.mark.parametrize("end", ["reset", "expire", "too large"])
async def test_room_of_a_message_that_never_comes_whole_goes_to_the_next(engine: Engine, end: str) -> None:
    wire, method = await engine.unary(echo)
    body = prefixed(b"x" * MAX_MESSAGE)
    fields = [("grpc-timeout", "500m" if end == "expire" else "50S")]
    streams = [wire.headers("Do", fields if not number else []) for number in range(3)]
    for stream in streams:
        wire.send(stream, body[: WINDOW - 1_000])
    if end == "reset":
        await wire.until(lambda: all(wire.room(stream) > 1_000 for stream in streams[:2]))
        wire.client.reset_stream(streams[0])
        wire.flush()
    elif end == "expire":
        assert (await wire.ended(streams[0])).status == EXPIRED
    else:
        await wire.upload(streams[0], body[WINDOW - 1_000 :] + b"xxxxxx", end=False)
        wire.client.end_stream(streams[0])
        wire.flush()
    await wire.until(lambda: wire.room(streams[2]) > 1_000)
    assert not method.calls


async def test_a_whole_message_keeps_its_room_until_the_client_has_ended_its_side(engine: Engine) -> None:
    wire, method = await engine.unary(echo)
    body = prefixed(b"x" * MAX_MESSAGE)
    streams = [wire.headers("Do") for _ in range(3)]
    for stream in streams[:2]:
        await wire.upload(stream, body, end=False)
    # All of both has come, as what came after it on the same connection has been answered.
    wire.send(streams[2], body[: WINDOW - 1_000])
    assert (await wire.call("Do", b"small")).messages == [b"small"]
    assert (wire.room(streams[2]), len(method.calls)) == (1_000, 1)
    wire.client.end_stream(streams[0])
    wire.flush()
    assert (await wire.ended(streams[0])).status == OK
    await wire.until(lambda: wire.room(streams[2]) > 1_000)


async def test_a_second_long_message_is_refused_before_it_comes(engine: Engine) -> None:
    wire, method = await engine.unary(echo)
    stream = wire.headers("Do")
    body = prefixed(b"x" * MAX_MESSAGE)
    await wire.upload(stream, body + body[:10], end=False)
    assert (await wire.ended(stream)).status not in (None, OK)
    assert not method.calls


@ENCODINGS
@UNARY
async def test_compressed_messages_are_taken(engine: Engine, encoding: str, compress: Any, quick: bool) -> None:
    wire, _ = await engine.unary(echo, quick)
    for message in (b"", b"hello", b"hello" * 100_000):
        stream = wire.headers("Do", [("grpc-encoding", encoding)])
        await wire.upload(stream, prefixed(compress(message), 1))
        answer = await wire.ended(stream)
        assert (answer.messages, answer.status) == ([message], OK)
