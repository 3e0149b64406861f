"""What the engine's clients share: places, threads, connections. None may have all, nor keep what it does not use."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import hpack
import msgspec
import pytest
from h2.errors import ErrorCodes as ErrorCode

from benchmarks import frames
from benchmarks.frames import frame, rst_stream, window_update
from tests.transport import raw
from tests.transport.engine import EXHAUSTED, EXPIRED, UNAVAILABLE, UNIMPLEMENTED, Engine
from tests.transport.fakes import Behaviour, echo, echo_each, forever, slow_each
from tests.transport.raw import Client, data, headers, literal
from tests.transport.serving import soon
from tests.transport.socket_wire import prefixed
from turnout_server.config import LimitsConfig
from turnout_server.transport import engine as module
from turnout_server.transport.call import Call
from turnout_server.transport.engine import EngineTransport

EACH = raw.block("/test.Fake/Do")


async def status_of(client: Client, stream: int) -> int:
    """Wait for a call's end before any answer, and return its status."""
    await client.until(lambda: client.of(frames.HEADERS, stream))
    return status_in(client.of(frames.HEADERS, stream)[-1].payload)


def status_in(block: bytes) -> int:
    fields = dict(hpack.Decoder().decode(block))
    return int(fields["grpc-status"])


async def test_a_connection_has_so_many_calls_at_once(engine: Engine) -> None:
    engine.limits = LimitsConfig(connection_calls=3)
    await engine.both(echo_each)
    client = await engine.greeted()
    said = dict(frames.settings_in(client.of(frames.SETTINGS)[0].payload))
    assert said[frames.MAX_CONCURRENT_STREAMS] == 3
    await client.say(*(headers(stream, EACH) for stream in (1, 3, 5, 7)))
    await client.until(lambda: client.resets)
    assert client.resets == {7: ErrorCode.REFUSED_STREAM}


async def test_who_resets_calls_may_ask_anew_at_once_but_not_for_ever(engine: Engine) -> None:
    engine.limits = LimitsConfig(connection_calls=3)
    may_end = asyncio.Event()

    async def reluctant(request: bytes, call: Call) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
        return b""

    _, method = await engine.unary(reluctant)
    client = await engine.greeted()
    for first in (1, 7):
        streams = range(first, first + 6, 2)
        await client.say(*(raw.request(stream, b"x", "/test.Fake/Do") for stream in streams))
        await soon(lambda first=first: len(method.calls) == first // 2 + 3)
        await client.say(*(rst_stream(stream, ErrorCode.CANCEL) for stream in streams))
    await client.say(raw.request(13, b"x", "/test.Fake/Do"))
    await client.until(lambda: client.resets)
    assert client.resets == {13: ErrorCode.REFUSED_STREAM}
    may_end.set()


async def test_of_calls_beyond_a_methods_quota_nobody_hears_and_who_ends_makes_room(engine: Engine) -> None:
    engine.quotas = {"test.Fake/Do": 2}
    method = engine.behaviour.unary("Do", forever)
    engine.behaviour.unary("Echo", echo)
    await engine.start()
    client = await engine.client(raw.opening())
    await client.say(*(raw.request(stream, b"x", "/test.Fake/Do") for stream in (1, 3)))
    await soon(lambda: len(method.calls) == 2)
    await client.say(raw.request(5, b"x", "/test.Fake/Do"))
    assert await status_of(client, 5) == EXHAUSTED
    await client.say(raw.request(7, b"x", "/test.Fake/Echo"))
    await client.until(lambda: client.of(frames.DATA, 7))
    await client.say(rst_stream(1, ErrorCode.CANCEL))
    await soon(lambda: method.cancelled == 1)
    await client.say(raw.request(9, b"x", "/test.Fake/Do"))
    await soon(lambda: len(method.calls) == 3)
    assert engine.transport.counts()["refusal.unheard"] == 1


SAID = data(1, prefixed(b"x"))


async def test_the_stream_that_is_silent_the_longest_makes_room(few: Engine, one_shard: None) -> None:
    method = few.behaviour.both_stream("Do", echo_each)
    await few.start()
    first, second = [await few.client(raw.opening()) for _ in range(2)]
    for client in (first, second):
        for stream in (1, 3):
            await client.say(headers(stream, EACH), data(stream, prefixed(b"x")))
            await client.until(lambda client=client, stream=stream: client.of(frames.DATA, stream))
    await first.until(lambda: len(first.of(frames.HEADERS, 1)) == 2)
    assert status_in(first.of(frames.HEADERS, 1)[-1].payload) == UNAVAILABLE
    await second.say(data(3, prefixed(b"still here"), end=True))
    await second.until(lambda: len(second.of(frames.DATA, 3)) == 2)
    assert len(first.of(frames.HEADERS, 3)) == 1
    assert few.transport.counts()["refusal.silent"] == 1
    assert len(method.calls) == 4


async def test_a_stream_costs_python_nothing_before_its_first_message(few: Engine, one_shard: None) -> None:
    method = few.behaviour.both_stream("Do", echo_each)
    await few.start()
    first = await few.client(raw.opening())
    second = await few.client(raw.opening())
    await first.say(headers(1, EACH), headers(3, EACH))
    await first.say(data(3, prefixed(b"whole")[:-1]))
    await second.say(headers(1, EACH))
    assert await first.goes_on()
    await second.say(headers(3, EACH))
    assert await status_of(first, 1) == UNAVAILABLE
    assert not method.calls
    await first.say(data(3, b"e", end=True))
    await first.until(lambda: first.of(frames.DATA, 3))
    assert [answer.payload for answer in first.of(frames.DATA, 3)] == [prefixed(b"whole")]
    assert len(method.calls) == 1


async def test_a_stream_that_ends_without_a_message_is_heard_of(engine: Engine) -> None:
    engine.behaviour.both_stream("Do", echo_each)
    await engine.start()
    client = await engine.client(raw.opening() + headers(1, EACH, end=True))
    assert await status_of(client, 1) == 0


@pytest.mark.parametrize("said", [b"", SAID], ids=["no message", "one message"])
async def test_a_stream_is_not_silent_for_ever(engine: Engine, said: bytes) -> None:
    engine.limits = msgspec.structs.replace(engine.limits, stream_silence_s=0.05)
    method = engine.behaviour.both_stream("Do", echo_each)
    await engine.start()
    client = await engine.client(raw.opening() + headers(1, EACH) + said)
    await client.until(lambda: len(client.of(frames.HEADERS, 1)) == 1 + bool(said))
    assert status_in(client.of(frames.HEADERS, 1)[-1].payload) == UNAVAILABLE
    if said:
        await method.all_cancelled.wait()


async def test_a_stream_is_not_silent_while_its_message_is_worked_on(engine: Engine) -> None:
    engine.limits = msgspec.structs.replace(engine.limits, stream_silence_s=0.05)
    engine.behaviour.both_stream("Do", slow_each)
    await engine.start()
    client = await engine.client(raw.opening() + headers(1, EACH) + data(1, prefixed(b"x")))
    await client.until(lambda: len(client.of(frames.HEADERS, 1)) == 2)
    assert [answer.payload for answer in client.of(frames.DATA, 1)] == [prefixed(b"x")]
    assert status_in(client.of(frames.HEADERS, 1)[-1].payload) == UNAVAILABLE


@pytest.mark.parametrize("begun", [b"", b"\0\0\0\0\x05he", prefixed(b"whole, but the call is not")])
async def test_a_request_that_does_not_come_is_not_waited_for(engine: Engine, begun: bytes) -> None:
    engine.limits = msgspec.structs.replace(engine.limits, request_s=0.05)
    _, method = await engine.unary(echo)
    client = await engine.client(raw.opening() + headers(1, EACH) + (data(1, begun) if begun else b""))
    assert await status_of(client, 1) == EXPIRED
    assert engine.transport.counts()["refusal.unfinished"] == 1
    assert not method.calls


@pytest.mark.parametrize(
    "waits",
    [
        headers(1, EACH),
        headers(1, EACH) + data(1, b"\0\0\0\0\x05he"),
        frame(frames.HEADERS, 0, 1, EACH),
        frame(frames.HEADERS, 0, 1, EACH)[:20],
    ],
    ids=["no message", "half a message", "a block without end", "half a frame"],
)
async def test_who_is_waited_for_makes_room_for_who_comes(
    engine: Engine, one_shard: None, monkeypatch: pytest.MonkeyPatch, waits: bytes
) -> None:
    monkeypatch.setattr(module, "most_connections", lambda: 2)
    engine.behaviour.unary("Do", echo)
    await engine.start()
    for _ in range(2):
        silent = await engine.client(raw.opening() + waits)
        await silent.until(lambda silent=silent: silent.of(frames.SETTINGS))
    for _ in range(2):
        wire = await engine.wire()
        assert (await wire.call("Do", b"x")).messages == [b"x"]
    counts = engine.transport.counts()
    assert (counts["accepted"], counts["evicted"], counts["refused"]) == (4, 2, 0)


async def test_a_silent_stream_makes_room_for_a_connection(
    engine: Engine, one_shard: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "most_connections", lambda: 1)
    method = engine.behaviour.both_stream("Do", echo_each)
    engine.behaviour.unary("Echo", echo)
    await engine.start()
    await engine.client(raw.opening() + headers(1, EACH) + SAID)
    await method.begun.wait()
    for _ in range(50):  # until the engine has heard that Python waits for the client
        try:
            wire = await engine.wire()
            assert (await wire.call("Echo", b"x")).messages == [b"x"]
        except (ConnectionError, AssertionError):
            continue
        break
    await method.all_cancelled.wait()
    assert engine.transport.counts()["evicted"] == 1


FLOODS = {
    "WINDOW_UPDATE": window_update(0, 1) * 50_000,
    "fields": b"".join(headers(n, raw.block() + literal(b"a", b"") * 3_300, end=True) for n in range(1, 200, 2)),
    "fields, with padding": b"".join(
        frame(frames.HEADERS, 0xD, n, b"\1" + raw.block() + literal(b"a", b"") * 3_300 + b"\0")
        for n in range(1, 200, 2)
    ),
    "updates of the table's size": b"".join(
        headers(n, b"\x20" * 16_000 + raw.block(), end=True) for n in range(1, 200, 2)
    ),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_what_costs_and_brings_nothing_is_counted(engine: Engine, flood: bytes) -> None:
    await engine.unary(echo)
    client = await engine.client(raw.opening())
    reading = asyncio.ensure_future(client.until(lambda: False))
    await client.say(flood)
    await reading
    assert client.goodbye in (ErrorCode.ENHANCE_YOUR_CALM, None)  # its system may have dropped what we said
    assert engine.transport.counts()["goaway.calm"] == 1


@pytest.mark.parametrize("path", ["test.Fake/Do", "xtest.Fake/Do"])
async def test_a_path_begins_with_a_slash(engine: Engine, path: str) -> None:
    _, method = await engine.unary(echo)
    client = await engine.client(raw.opening() + raw.request(1, b"x", path))
    await client.until(lambda: client.of(frames.HEADERS, 1) or client.resets)
    assert client.resets or await status_of(client, 1) == UNIMPLEMENTED
    assert not method.calls


async def test_resets_are_counted_by_whose_they_are(engine: Engine) -> None:
    wire, method = await engine.both(echo_each)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"x"))
    await method.begun.wait()
    wire.client.reset_stream(stream)
    wire.flush()
    await method.all_cancelled.wait()
    counts = engine.transport.counts()
    assert (counts["reset.client"], counts["reset.server"], counts["connections"]) == (1, 0, 1)


class Scripted:
    """An engine that says what it is told to."""

    def __init__(self, *arguments: Any, urgent: list[str], **options: Any) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.send(b"!")
        self.urgent = urgent
        self.said: list[Any] = []
        self.answered: list[int] = []

    def fileno(self) -> int:
        return self._reader.fileno()

    def events(self, most: int) -> list[Any]:
        said, self.said = self.said[:most], self.said[most:]
        return said

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def answer(self, number: int, message: bytes) -> None:
        self.answered.append(number)


async def test_the_engine_keeps_what_this_loop_has_no_time_for(
    behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows whose calls are next, and which are urgent: `engine/src/net/events.rs` has the rules."""
    monkeypatch.setattr(module, "_engine", lambda: Scripted)
    behaviour.unary("Echo", echo)
    transport = EngineTransport(behaviour.as_methods, LimitsConfig(), urgent={"test.Fake/Check"})
    scripted = cast("Scripted", transport._engine)
    try:
        assert scripted.urgent == ["test.Fake/Check"]
        scripted.said = [("call", number, "test.Fake/Echo", {}, "p:1", None, b"x") for number in range(200)]
        transport._take()
        assert len(scripted.answered) < 50
        await soon(lambda: len(scripted.answered) == 200)
    finally:
        asyncio.get_running_loop().remove_reader(scripted.fileno())
        scripted.close()
