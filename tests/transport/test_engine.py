"""The engine with clients of gRPC's: what only it bounds and counts, and how it ends. See also `test_clients.py`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import grpc
import hpack
import pytest

pytest.importorskip("turnout_engine")

from benchmarks import frames
from tests.transport.fakes import Behaviour
from tests.transport.raw import opening, request
from tests.transport.serving import MIB, PATIENCE_S, Served, both, failure, served, soon, unary
from tests.transport.socket_wire import prefixed
from turnout_server.config import LimitsConfig
from turnout_server.transport import engine as module
from turnout_server.transport.call import Call
from turnout_server.transport.engine import EngineTransport
from turnout_server.vocabulary.errors import ConfigurationError

STREAMS = 256


@pytest.fixture
async def server(behaviour: Behaviour) -> AsyncIterator[Served]:
    async with served("engine", behaviour) as one:
        yield one


# ---------------------------------------------------------------- many


async def test_more_calls_than_streams_are_allowed_wait_their_turn(behaviour: Behaviour) -> None:
    release = asyncio.Event()

    async def act(raw: bytes, call: Call) -> bytes:
        await release.wait()
        return raw

    method = behaviour.unary("Wait", act)
    async with served("engine", behaviour) as server, asyncio.timeout(PATIENCE_S):
        channel = server.channel()
        calls = [unary(channel, "Wait")(b"%d" % number) for number in range(STREAMS + 100)]
        await soon(lambda: len(method.calls) == STREAMS)
        other = server.channel()
        assert await unary(other)(b"x") == b"x"
        assert len(method.calls) == STREAMS
        release.set()
        assert await asyncio.gather(*calls) == [b"%d" % number for number in range(STREAMS + 100)]


async def test_connections_are_counted(server: Served) -> None:
    channels = [server.channel() for _ in range(50)]
    for _ in range(2):  # a channel has one, however many calls it makes
        assert await asyncio.gather(*(unary(channel)(b"x") for channel in channels)) == [b"x"] * 50
        assert server.transport.connections == 50


# ---------------------------------------------------------------- how the server ends


async def test_at_the_end_calls_finish_and_new_ones_go_elsewhere(behaviour: Behaviour) -> None:
    release = asyncio.Event()

    async def act(raw: bytes, call: Call) -> bytes:
        await release.wait()
        return raw

    method = behaviour.unary("Wait", act)
    transport = EngineTransport(behaviour.as_methods, LimitsConfig())
    port = await transport.start("127.0.0.1", 0)
    async with asyncio.timeout(PATIENCE_S), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = unary(channel, "Wait")(b"x")
        await method.begun.wait()
        goodbye = asyncio.create_task(transport.say_goodbye())
        await asyncio.sleep(0)
        release.set()
        assert await call == b"x"
        await goodbye
        assert (await failure(unary(channel)(b""))).code() is grpc.StatusCode.UNAVAILABLE
    assert not transport.connections


async def test_at_the_end_what_does_not_finish_is_told_so(server: Served) -> None:
    method = server.behaviour.methods["test.Fake/Forever"]
    channel = server.channel()
    call = asyncio.ensure_future(failure(unary(channel, "Forever")(b"")))
    conversation = both(channel)()
    await conversation.write(b"a")
    assert await conversation.read() == b"a"
    await method.begun.wait()
    await server.transport.say_goodbye()
    error = await call
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
    assert await conversation.code() is grpc.StatusCode.UNAVAILABLE
    await method.all_cancelled.wait()


async def test_at_the_end_a_large_answer_is_still_read_to_its_end(server: Served) -> None:
    channel = server.channel()
    call = unary(channel)(b"x" * 60 * MIB)
    await soon(lambda: server.behaviour.methods["test.Fake/Echo"].calls)
    await server.transport.say_goodbye()
    assert len(await call) == 60 * MIB


async def test_at_the_end_answers_wait_for_clients_that_read_slowly(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_TRANSIT_S", 0.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(opening(window=0) + request(1, b"slow") + request(3, b"", "/test.Fake/Forever"))
    await server.behaviour.methods["test.Fake/Forever"].begun.wait()
    goodbye = asyncio.create_task(server.transport.say_goodbye())
    decoder = hpack.Decoder()
    while True:
        length_and_kind, _, stream = frames.HEADER.unpack(await reader.readexactly(frames.HEADER.size))
        payload = await reader.readexactly(length_and_kind >> 8)
        fields = dict(decoder.decode(payload)) if length_and_kind & 0xFF == frames.HEADERS else {}
        if stream == 3:
            assert fields["grpc-message"] == "the server is shutting down"
            break
    writer.write(frames.window_update(1, 100))
    assert prefixed(b"slow") in await reader.read()
    await goodbye
    writer.close()


async def test_the_end_does_not_wait_for_ever_for_a_client_that_does_not_read(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ANSWERS_S", 0.01)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(opening(window=0) + request(1, b"x" * 60_000))
        await soon(lambda: server.behaviour.methods["test.Fake/Echo"].calls)
        await server.transport.say_goodbye()
    assert not server.transport.connections


async def test_saying_goodbye_can_be_cut_short(server: Served) -> None:
    channel = server.channel()
    assert await unary(channel)(b"x") == b"x"
    goodbye = asyncio.create_task(server.transport.say_goodbye())
    await asyncio.sleep(0)
    goodbye.cancel()
    with pytest.raises(asyncio.CancelledError):
        await goodbye
    await soon(lambda: not server.transport.connections)


async def test_a_port_is_never_shared(server: Served) -> None:
    again = EngineTransport({}, LimitsConfig())
    with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        await again.start("127.0.0.1", server.port)


async def test_a_host_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on \[2001:db8::1\]:1"):
        await EngineTransport({}, LimitsConfig()).start("2001:db8::1", 1)


async def test_every_address_of_a_host_is_listened_on_at_the_same_port(behaviour: Behaviour) -> None:
    transport = EngineTransport(behaviour.as_methods, LimitsConfig())
    port = await transport.start("localhost", 0)
    try:
        found = await asyncio.get_running_loop().getaddrinfo("localhost", port, type=socket.SOCK_STREAM)
        for host in {info[4][0] for info in found}:
            host = f"[{host}]" if ":" in host else host
            async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
                assert await unary(channel)(b"x") == b"x"
    finally:
        await transport.say_goodbye()
