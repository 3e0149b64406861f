"""Who does not speak HTTP/2, breaks its rules, or costs and brings nothing."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

import grpc
import pytest
from h2.errors import ErrorCodes as ErrorCode

from benchmarks import frames
from tests.transport import raw
from tests.transport.engine import (
    Engine,
    frame_in,
    rest,
)
from tests.transport.fakes import FakeMethod, echo, forever
from tests.transport.serving import PATIENCE_S, soon
from tests.transport.socket_wire import prefixed
from turnout_server.transport import engine as module


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.1\r\n", b"POST /a/b HTTP/1.1\r\nHost: here\r\n", b"HEAD / HTTP/1.0\r\n"]
)
async def test_http1_is_told_what_is_spoken_here(echoing: Engine, line: bytes) -> None:
    reader, _ = await echoing.raw(line + b"\r\n")
    answer = await rest(reader)
    assert answer.startswith(b"HTTP/1.1 505 ")
    head, _, text = answer.partition(b"\r\n\r\n")
    assert b"gRPC" in text
    assert b"Content-Length: %d" % len(text) in head


async def test_garbage_is_told_so_and_hung_up_on(echoing: Engine) -> None:
    draw = random.Random(7)
    for _ in range(30):
        reader, _ = await echoing.raw(draw.randbytes(draw.randrange(30, 3_000)))
        _, _, payload = frame_in(await rest(reader), frames.GOAWAY)
        assert int.from_bytes(payload[4:8], "big") == ErrorCode.PROTOCOL_ERROR


async def test_a_preface_that_comes_in_bytes_is_one(echoing: Engine) -> None:
    reader, writer = await echoing.raw()
    for byte in raw.opening() + raw.request(1, b"slowly"):
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(0)
    data = b""
    async with asyncio.timeout(PATIENCE_S):
        while prefixed(b"slowly") not in data:
            data += await reader.read(1_000)


def many(one: bytes) -> bytes:
    return one * 20_000


@pytest.mark.parametrize(
    ("data", "codes"),
    [
        (b"\xff" + random.Random(8).randbytes(5_000), {ErrorCode.PROTOCOL_ERROR, ErrorCode.FRAME_SIZE_ERROR}),
        (frames.frame(frames.PING, 0, 0, b"12345678"), {ErrorCode.PROTOCOL_ERROR}),
    ],
)
async def test_who_does_not_begin_with_settings_is_hung_up_on(echoing: Engine, data: bytes, codes: set[int]) -> None:
    reader, _ = await echoing.raw(frames.PREFACE, data)
    _, _, payload = frame_in(await rest(reader), frames.GOAWAY)
    assert int.from_bytes(payload[4:8], "big") in codes


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frames.frame(frames.DATA, 0, 7, b"x"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff" * 20), None),
        (frames.frame(frames.PING, 0, 0, b"short"), None),
        (frames.frame(frames.PUSH_PROMISE, 0, 1, b"\0" * 4), ErrorCode.PROTOCOL_ERROR),
        (b"\xff\xff\xff\0\0\0\0\0\1", ErrorCode.FRAME_SIZE_ERROR),
        (many(frames.frame(frames.PING, 0, 0, b"12345678")), ErrorCode.ENHANCE_YOUR_CALM),
        (many(frames.settings([])), ErrorCode.ENHANCE_YOUR_CALM),
        (many(frames.frame(frames.PRIORITY, 0, 1, b"\0\0\0\0\1")), ErrorCode.ENHANCE_YOUR_CALM),
        (many(frames.frame(0x77, 0, 0, b"?")), ErrorCode.ENHANCE_YOUR_CALM),
        (raw.head(1) + many(frames.frame(frames.DATA, 0, 1)), ErrorCode.ENHANCE_YOUR_CALM),
        (
            b"".join(raw.head(n) + frames.rst_stream(n, ErrorCode.CANCEL) for n in range(1, 40_001, 2)),
            ErrorCode.ENHANCE_YOUR_CALM,
        ),
        (
            raw.head(1) + frames.frame(frames.HEADERS, frames.END_STREAM, 1, b"\0\1a\x7f\xff\xff\x7f" + b"x" * 9_000),
            ErrorCode.ENHANCE_YOUR_CALM,
        ),
        (
            frames.frame(frames.HEADERS, 0, 1, raw.block()) + many(frames.frame(frames.CONTINUATION, 0, 1, b"")),
            ErrorCode.ENHANCE_YOUR_CALM,
        ),
    ],
)
async def test_who_breaks_a_rule_is_told_which_and_hung_up_on(
    echoing: Engine, data: bytes, code: ErrorCode | None
) -> None:
    """None is for rules whose code h2 has as PROTOCOL_ERROR where RFC 9113 names another.

    What a client sends beyond that may make its system drop what we said.
    """
    reader, writer = await echoing.raw()
    reading = asyncio.ensure_future(rest(reader))
    with contextlib.suppress(ConnectionError):
        writer.write(raw.opening() + data)
        await writer.drain()
    with contextlib.suppress(LookupError if len(data) > 100_000 else ()):
        _, _, payload = frame_in(await reading, frames.GOAWAY)
        assert int.from_bytes(payload[4:8], "big") == (code or ErrorCode.PROTOCOL_ERROR)
    await soon(lambda: not echoing.transport.connections)


async def test_half_a_call_holds_up_nobody(echoing: Engine) -> None:
    halves = (
        raw.head(1)[:20],
        frames.frame(frames.HEADERS, 0, 1, raw.block()[:10]),
        raw.head(1),
        raw.request(1, b"x" * 100)[:-50],
    )
    for half in halves:
        await echoing.raw(raw.opening() + half)
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


async def test_connections_beyond_the_limit_cost_those_that_bring_nothing(
    engine: Engine, one_shard: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "most_connections", lambda: 5)
    engine.behaviour.unary("Echo", echo)
    wire, method = await engine.unary(forever)
    wire.ask("Do")
    await method.begun.wait()
    for _ in range(50):
        await engine.raw()
    other = await engine.wire()
    assert (await other.call("Echo", b"x")).messages == [b"x"]
    await soon(lambda: engine.transport.connections <= 5)
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
            assert await channel.unary_unary("/test.Fake/Do")(b"x") == b"x"
    await soon(lambda: engine.transport.connections == 2)
    for channel in channels:
        await channel.close()


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
