"""grpcio's server, under methods that do as told; see also `test_clients.py` and `tests/rpc`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest

from benchmarks import frames
from tests.transport.fakes import Behaviour, count, echo, echo_each, failing, slow_each
from tests.transport.serving import PATIENCE_S
from turnout_server.config import LimitsConfig
from turnout_server.transport import grpcio as module
from turnout_server.transport.call import Call
from turnout_server.transport.grpcio import GrpcioTransport
from turnout_server.vocabulary.errors import ConfigurationError


@contextlib.asynccontextmanager
async def served(behaviour: Behaviour, stream_silence_s: float = 600.0) -> AsyncIterator[grpc.aio.Channel]:
    """Serve *behaviour* on a free port of loopback."""
    transport = GrpcioTransport(behaviour.as_methods, LimitsConfig(stream_silence_s=stream_silence_s))
    port = await transport.start("127.0.0.1", 0)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await transport.say_goodbye()


async def test_bytes_go_both_ways_with_their_metadata_and_deadline() -> None:
    behaviour = Behaviour()
    method = behaviour.unary("Echo", echo)
    behaviour.server_stream("Count", count)
    behaviour.both_stream("EchoEach", echo_each)
    async with served(behaviour) as channel:
        sent = (("x-a", "1"), ("x-a", "2"), ("x-b-bin", b"\0"))
        assert await channel.unary_unary("/test.Fake/Echo")(b"hello", metadata=sent, timeout=60) == b"hello"
        assert [answer async for answer in channel.unary_stream("/test.Fake/Count")(b"abc")] == [b"abc"] * 3
        both = channel.stream_stream("/test.Fake/EchoEach")(iter([b"a", b"b"]))
        assert [answer async for answer in both] == [b"a", b"b"]
    (call,) = method.calls
    assert call.metadata["x-a"] == "2"
    assert "x-b-bin" not in call.metadata
    assert call.deadline is not None


async def test_a_stream_is_not_silent_while_its_message_is_worked_on() -> None:
    behaviour = Behaviour()
    behaviour.both_stream("Do", slow_each)
    async with served(behaviour, stream_silence_s=0.05) as channel:
        call = channel.stream_stream("/test.Fake/Do")()
        await call.write(b"x")
        assert await call.read() == b"x"
        assert await call.code() is grpc.StatusCode.UNKNOWN  # of a method that lets the error through


async def test_a_call_that_fails_has_its_status_and_trailers() -> None:
    behaviour = Behaviour()

    async def fail(raw: bytes, call: Call) -> bytes:
        raise failing(grpc.StatusCode.NOT_FOUND, "no such", (("x-why", "gone"),))

    behaviour.unary("Fail", fail)
    async with served(behaviour) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="no such") as caught:
            await channel.unary_unary("/test.Fake/Fail")(b"")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert ("x-why", "gone") in tuple(caught.value.trailing_metadata())


async def test_an_address_that_is_not_ours_is_one_clear_line() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1:1"):
        await GrpcioTransport({}, LimitsConfig()).start("192.0.2.1", 1)


@pytest.mark.parametrize("said", [b"", b"P", frames.PREFACE])
async def test_who_does_not_begin_in_time_is_hung_up_on(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(module, "_PREFACE_S", 0.05)
    transport = GrpcioTransport({}, LimitsConfig())
    reader, writer = await asyncio.open_connection("127.0.0.1", await transport.start("127.0.0.1", 0))
    writer.write(said)
    async with asyncio.timeout(PATIENCE_S):
        while await reader.read(1_000):
            pass
    writer.close()
    await transport.say_goodbye()
