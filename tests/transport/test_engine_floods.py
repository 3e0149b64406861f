"""Who costs and brings nothing: a connection that is slow, silent or hostile costs its own share."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
from collections.abc import AsyncGenerator

import grpc
import pytest
from h2.errors import ErrorCodes as ErrorCode

from benchmarks import frames
from benchmarks.frames import frame, rst_stream, window_update
from tests.transport import raw
from tests.transport.engine import EXHAUSTED, Engine
from tests.transport.fakes import FakeMethod, echo, forever
from tests.transport.raw import data, headers, literal
from tests.transport.serving import PATIENCE_S, soon
from tests.transport.socket_wire import prefixed
from turnout_server.transport import engine as module
from turnout_server.transport.call import Call

CALM_DOWN = ErrorCode.ENHANCE_YOUR_CALM
BLOCK = raw.block("/test.Fake/EchoEach")
NOWHERE = raw.block("/test.Fake/Nothing")
TRAILERS = literal(b"x-checksum", b"1")
LARGE = literal(b"x-large", b"v" * 4_000, 0x40)
"""A field that fills the table, where one byte means all of it."""


def many(one: bytes) -> bytes:
    return one * 50_000


def on_many_streams(fault: bytes) -> bytes:
    """Return calls with *fault* in each, which has STRM for the call's stream."""
    streams = range(3, 50_000, 2)
    return b"".join(headers(n, BLOCK) + fault.replace(b"STRM", n.to_bytes(4, "big")) for n in streams)


FLOODS = {
    "PING": (many(frame(frames.PING, 0, 0, b"12345678")), CALM_DOWN),
    "SETTINGS": (many(frames.settings([])), CALM_DOWN),
    "PRIORITY": (many(frame(frames.PRIORITY, 0, 1, b"\0\0\0\0\1")), CALM_DOWN),
    "GOAWAY": (many(frame(frames.GOAWAY, 0, 0, bytes(8))), CALM_DOWN),
    "unknown frames": (many(frame(0x77, 0, 0, b"?")), CALM_DOWN),
    "empty DATA": (many(data(1)), CALM_DOWN),
    "nothing but padding": (many(frame(frames.DATA, frames.PADDED, 1, b"\x09" + bytes(9))), CALM_DOWN),
    "empty DATA on a stream that we ended": (headers(3, NOWHERE) + many(data(3)), CALM_DOWN),
    "trailers on a stream that we ended": (
        headers(3, NOWHERE) + many(headers(3, TRAILERS, end=True)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "RST_STREAM on a stream that has ended": (many(rst_stream(1, ErrorCode.CANCEL)), CALM_DOWN),
    # CVE-2023-44487.
    "calls that are reset at once": (on_many_streams(b"\0\0\4\3\0STRM\0\0\0\x08"), CALM_DOWN),
    # CVE-2025-8671: calls that we are made to reset come to the same.
    "windows that overflow": (on_many_streams(b"\0\0\4\x08\0STRM\x7f\xff\xff\xff"), CALM_DOWN),
    "malformed requests": (b"".join(headers(n, b"\x82") for n in range(3, 50_000, 2)), CALM_DOWN),
    "calls past the limit": (b"".join(headers(n, BLOCK) for n in range(3, 50_000, 2)), CALM_DOWN),
    # CVE-2024-27316.
    "a header block without end": (
        frame(frames.HEADERS, 0, 3, BLOCK) + many(frame(frames.CONTINUATION, 0, 3)),
        CALM_DOWN,
    ),
    "a header block of megabytes": (
        frame(frames.HEADERS, 0, 3, BLOCK)
        + frame(frames.CONTINUATION, 0, 3, literal(b"x-large", b"v" * 16_000)) * 1_000,
        CALM_DOWN,
    ),
    "a field of gigabytes": (
        frame(frames.HEADERS, 0, 3, BLOCK + b"\0\1x\x7f\xff\xff\xff\7")
        + frame(frames.CONTINUATION, 0, 3, bytes(16_384)) * 1_000,
        CALM_DOWN,
    ),
    "long trailers": (frame(frames.HEADERS, 1, 1, b"\0\1a\x7f\xff\xff\x7f" + b"x" * 9_000), CALM_DOWN),
    "a few kilobytes that mean fifty megabytes": (headers(3, BLOCK + LARGE + b"\xbe" * 12_000), CALM_DOWN),
}


@pytest.mark.parametrize(("sent", "code"), [pytest.param(*flood, id=name) for name, flood in FLOODS.items()])
async def test_a_flood_ends_the_connection_and_its_calls(echoing: Engine, sent: bytes, code: ErrorCode) -> None:
    """What a client sends beyond that may make its system drop what we said."""
    calls = echoing.behaviour.methods["test.Fake/EchoEach"]
    client = await echoing.client(raw.opening() + headers(1, BLOCK) + data(1, prefixed(b"x")))
    await calls.begun.wait()
    reading = asyncio.ensure_future(client.until(lambda: False))
    await client.say(sent)
    await reading
    assert client.goodbye in {code} | ({None} if len(sent) > 100_000 else set())
    await soon(lambda: not echoing.transport.connections)
    await calls.all_cancelled.wait()
    assert calls.cancelled == len(calls.calls) <= 1_000


async def test_header_blocks_that_mean_more_than_they_say_are_refused_one_by_one(echoing: Engine) -> None:
    client = await echoing.client(raw.opening(), headers(1, NOWHERE + LARGE + b"\xbe" * 200, end=True))
    for stream in range(3, 100, 2):
        await client.say(headers(stream, raw.block() + b"\xbe" * 200, end=True))
        await client.until(lambda stream=stream: client.of(frames.HEADERS, stream))
    assert await client.goes_on()
    assert not echoing.behaviour.methods["test.Fake/Echo"].calls


async def test_pings_without_calls_are_no_offence(engine: Engine) -> None:
    wire, _ = await engine.unary(echo)
    for number in range(1_000):
        wire.client.ping(number.to_bytes(8, "big"))
        wire.flush()
    assert (await wire.call("Do", b"x")).messages == [b"x"]
    assert wire.terminated is None


async def test_a_client_may_reset_as_many_calls_as_it_likes_now_and_then(engine: Engine) -> None:
    wire, _ = await engine.unary(echo)
    for _ in range(20):
        for _ in range(150):
            wire.client.reset_stream(wire.ask("Do", b"x"))
        wire.flush()
        assert (await wire.call("Do", b"x")).messages == [b"x"]
    assert wire.terminated is None


# ---------------------------------------------------------------- who reads nothing


async def test_a_client_that_does_not_read_its_socket_stops_its_handler(engine: Engine) -> None:
    """Its windows are wide open: what holds it up is the socket."""
    made = []

    async def endless(request: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        while True:
            made.append(True)
            yield b"x" * 100_000

    method = engine.behaviour.server_stream("Endless", endless)
    engine.behaviour.unary("Echo", echo)
    await engine.start()
    client = await engine.client(raw.opening(2**30), window_update(0, 2**30), raw.request(1, b"", "/test.Fake/Endless"))
    wire = await engine.wire()
    await soon(lambda: made)
    seen = -1
    while seen != len(made):  # until it is held up
        seen = len(made)
        for _ in range(20):
            assert (await wire.call("Echo", b"x")).messages == [b"x"]
    assert seen < 500
    await client.close()
    await method.all_cancelled.wait()


async def test_who_leaves_too_many_answers_unread_is_asked_to_read_first(engine: Engine) -> None:
    size = 129 * 1024 * 1024

    async def act(request: bytes, call: Call) -> bytes:
        return bytes(size) if request else b"small"

    wire, method = await engine.unary(act, window=0, reads=False)
    early = wire.headers("Do")
    unread = wire.ask("Do", b"large")
    await wire.until(lambda: wire.answers[unread].headers)
    answer = await wire.call("Do")
    assert (answer.status, len(method.calls)) == (EXHAUSTED, 1)
    assert answer.message == "answers wait to be read; take them before asking for more"
    # Also of a call that began before there were any.
    wire.send(early, prefixed(b"large"), end=True)
    assert ((await wire.ended(early)).status, len(method.calls)) == (EXHAUSTED, 1)
    wire.client.reset_stream(unread)
    for _ in range(100):  # until the engine has let go of it
        again = wire.ask("Do")
        await wire.until(lambda again=again: wire.answers[again].headers)
        if wire.answers[again].status is None:
            break
    wire.client.increment_flow_control_window(100, again)
    wire.flush()
    assert (await wire.ended(again)).messages == [b"small"]


async def test_a_client_that_breaks_a_rule_and_reads_nothing_is_cut_off(engine: Engine) -> None:
    async def endless(request: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        while True:
            yield b"x" * 100_000

    method = engine.behaviour.server_stream("Endless", endless)
    await engine.start()
    client = await engine.client(raw.opening(2**30), window_update(0, 2**30), raw.request(1, b"", "/test.Fake/Endless"))
    await method.begun.wait()
    await client.say(frame(frames.PING, 0, 0, b"short"))
    await method.all_cancelled.wait()
    await soon(lambda: not engine.transport.connections)


# ---------------------------------------------------------------- who takes their time, or goes


async def test_half_a_call_holds_up_nobody(echoing: Engine) -> None:
    halves = (
        raw.head(1)[:20],
        frame(frames.HEADERS, 0, 1, raw.block()[:10]),
        raw.head(1),
        raw.request(1, b"x" * 100)[:-50],
    )
    for half in halves:
        await echoing.client(raw.opening() + half)
    await soon(lambda: echoing.transport.connections == 4)
    wire = await echoing.wire()
    assert (await wire.call("Echo", b"x")).messages == [b"x"]


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_client_that_vanishes_ends_its_calls(echoing: Engine, how: str) -> None:
    method: FakeMethod = echoing.behaviour.methods["test.Fake/Forever"]
    client = socket.create_connection(("127.0.0.1", echoing.port))
    client.sendall(raw.opening() + b"".join(raw.request(n, b"", "/test.Fake/Forever") for n in (1, 3, 5)))
    await soon(lambda: len(method.calls) == 3)
    if how == "rst":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    await method.all_cancelled.wait()
    assert method.cancelled == 3
    await soon(lambda: not echoing.transport.connections)


async def test_a_client_may_go_while_its_message_is_unpacked(engine: Engine) -> None:
    wire, method = await engine.unary(echo)
    packed = gzip.compress(random.Random(3).randbytes(200_000))
    for _ in range(5):
        stream = wire.headers("Do", [("grpc-encoding", "gzip")])
        await wire.upload(stream, b"\1" + len(packed).to_bytes(4, "big") + packed)
        wire.client.reset_stream(stream)
        wire.flush()
    assert (await wire.call("Do", b"next")).messages == [b"next"]
    assert len(method.calls) <= 6


# ---------------------------------------------------------------- too many


async def test_connections_beyond_the_limit_cost_those_that_bring_nothing(
    engine: Engine, one_shard: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "most_connections", lambda: 5)
    engine.behaviour.unary("Echo", echo)
    wire, method = await engine.unary(forever)
    wire.ask("Do")
    await method.begun.wait()
    for _ in range(50):
        await engine.client()
    other = await engine.wire()
    assert (await other.call("Echo", b"x")).messages == [b"x"]
    await soon(lambda: engine.transport.connections <= 5)
    assert not method.cancelled


async def test_where_all_are_busy_the_newcomer_has_to_go_elsewhere(
    engine: Engine, one_shard: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "most_connections", lambda: 1)
    wire, method = await engine.unary(forever)
    wire.ask("Do")
    await method.begun.wait()
    newcomer = await engine.client(raw.opening())
    assert await newcomer.rest() == b""
    assert not method.cancelled


async def test_who_is_turned_away_for_another_may_connect_again(
    engine: Engine, one_shard: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "most_connections", lambda: 2)
    await engine.unary(echo)
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{engine.port}", [("grpc.use_local_subchannel_pool", 1)]) for _ in range(4)
    ]
    for _ in range(3):
        for channel in channels:
            async with asyncio.timeout(PATIENCE_S):
                assert await channel.unary_unary("/test.Fake/Do")(b"x") == b"x"
    await soon(lambda: engine.transport.connections == 2)
    for channel in channels:
        await channel.close()
