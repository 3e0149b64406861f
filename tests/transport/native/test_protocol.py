"""Connections on the event loop, and clients that do what no client should: they only ever hurt themselves."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.transport.native import raw
from tests.transport.native.fakes import Behaviour, FakeMethod
from tests.transport.native.serving import PATIENCE_S, Served, served, until
from turnout_server.http2 import connection as http2
from turnout_server.http2 import frames
from turnout_server.http2.codes import ErrorCode
from turnout_server.transport.native import protocol as module

GOAWAY, RST_STREAM, SETTINGS = frames.GOAWAY, frames.RST_STREAM, frames.SETTINGS


@pytest.fixture
async def server(behaviour: Behaviour) -> AsyncIterator[Served]:
    async with served(behaviour) as one:
        yield one
        assert await one.channel().unary_unary("/test.Fake/Echo")(b"others") == b"others"


class Raw:
    """A client that sends any bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Send *pieces*; the server may hang up meanwhile."""
        try:
            for piece in pieces:
                self._writer.write(piece)
                await self._writer.drain()
        except ConnectionError:
            pass

    async def frame(self) -> tuple[int, int, int, bytes]:
        """Return the next frame's kind, flags, stream and payload."""
        async with asyncio.timeout(PATIENCE_S):
            length_and_kind, flags, stream = frames.HEADER.unpack(await self._reader.readexactly(9))
            return length_and_kind & 0xFF, flags, stream, await self._reader.readexactly(length_and_kind >> 8)

    async def frame_of(self, kind: int) -> tuple[int, int, bytes]:
        """Skip frames until one of *kind*."""
        while True:
            found, flags, stream, payload = await self.frame()
            if found == kind:
                return flags, stream, payload

    async def rest(self) -> bytes:
        """Return everything until the server hangs up."""
        data = b""
        try:
            while piece := await self._reader.read(2**16):
                data += piece
        except ConnectionError:
            pass
        return data

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
async def connect(server: Served) -> AsyncIterator[Callable[[], Any]]:
    """Return what connects a client, which is closed at the end."""
    clients = []

    async def one() -> Raw:
        clients.append(Raw(*await asyncio.open_connection("127.0.0.1", server.port)))
        return clients[-1]

    yield one
    for client in clients:
        client.close()


# ---------------------------------------------------------------- who does not speak HTTP/2


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.1\r\n", b"POST /a/b HTTP/1.1\r\nHost: here\r\n", b"HEAD / HTTP/1.0\r\n"]
)
async def test_http1_is_told_what_is_spoken_here(connect: Any, line: bytes) -> None:
    client = await connect()
    await client.send(line + b"\r\n")
    answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 505 ")
    assert b"gRPC" in answer


async def test_garbage_is_hung_up_on(connect: Any) -> None:
    draw = random.Random(7)
    for _ in range(30):
        client = await connect()
        await client.send(draw.randbytes(draw.randrange(30, 3_000)))
        await client.rest()


async def test_garbage_after_the_preface_is_hung_up_on(connect: Any) -> None:
    draw = random.Random(8)
    for size in (9, 100, 5_000):
        client = await connect()
        await client.send(frames.PREFACE, b"\xff" + draw.randbytes(size))
        assert frames.goaway(0, ErrorCode.PROTOCOL_ERROR)[3:4] in await client.rest()


@pytest.mark.parametrize("said", [b"", b"P", frames.PREFACE[:-1], frames.PREFACE, frames.PREFACE + b"\0\0"])
async def test_who_does_not_begin_in_time_is_hung_up_on(
    connect: Any, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PREFACE_S", 0.01)
    client = await connect()
    await client.send(said)
    await client.rest()


async def test_who_has_begun_may_be_idle(server: Served, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PREFACE_S", 0.05)
    client, silent = await connect(), await connect()
    await client.send(raw.opening())
    await silent.rest()  # its time was up after that of the client, which came first
    await client.send(raw.request(1, b"x"))
    assert (await client.frame_of(frames.DATA))[2][5:] == b"x"


async def test_a_preface_that_comes_in_bytes_is_one(connect: Any) -> None:
    client = await connect()
    for byte in raw.opening() + raw.request(1, b"slowly"):
        await client.send(bytes((byte,)))
    assert (await client.frame_of(frames.DATA))[2][5:] == b"slowly"


# ---------------------------------------------------------------- who breaks rules


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frames.frame(frames.DATA, 0, 7, b"x"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff" * 20), ErrorCode.COMPRESSION_ERROR),
        (frames.frame(frames.PING, 0, 0, b"short"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.PUSH_PROMISE, 0, 1, b"\0" * 4), ErrorCode.PROTOCOL_ERROR),
        (b"\xff\xff\xff\0\0\0\0\0\1", ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.PING, 0, 0, b"12345678") * 20_000, ErrorCode.ENHANCE_YOUR_CALM),
        (b"".join(raw.head(n) + frames.rst_stream(n, ErrorCode.CANCEL) for n in range(1, 40_001, 2)), 0xB),
    ],
)
async def test_who_breaks_a_rule_is_told_which_and_hung_up_on(connect: Any, data: bytes, code: int) -> None:
    client = await connect()
    reading = asyncio.ensure_future(client.frame_of(GOAWAY))
    await client.send(raw.opening(), data)
    try:
        _, _, payload = await reading
    except (asyncio.IncompleteReadError, ConnectionError):
        return  # what it had sent beyond that made the system drop what we said
    assert int.from_bytes(payload[4:8], "big") == code
    await client.rest()


async def test_a_client_that_breaks_a_rule_and_reads_nothing_is_cut_off(
    server: Served, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.01)
    client = socket.create_connection(("127.0.0.1", server.port))
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    wide = frames.window_update(0, 2**30)
    try:
        await loop.sock_sendall(client, raw.opening(2**30) + wide + raw.request(1, b"x" * 2_000, "/test.Fake/Count"))
        for number in range(3, 60, 2):
            await loop.sock_sendall(client, raw.request(number, b"x" * 2_000, "/test.Fake/Count"))
        await until(lambda: any(one.peer.paused for one in server.transport._connections))
        (connection,) = server.transport._connections
        connection.resume_writing()  # as if it had read once more
        connection.data_received(frames.frame(frames.PING, 0, 0, b"short"))
        assert connection.peer.closed
        await until(lambda: not server.connections)
    finally:
        client.close()


async def test_a_bug_of_ours_ends_one_connection_and_is_logged(
    server: Served, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []

    class Log:
        def exception(self, event: str) -> None:
            logged.append(event)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "_log", Log())
    client = await connect()
    await client.send(raw.opening())
    await client.frame_of(SETTINGS)
    (connection,) = server.transport._connections
    monkeypatch.setattr(connection.peer, "receive", broken)
    await client.send(raw.request(1, b"x"))
    _, _, payload = await client.frame_of(GOAWAY)
    assert int.from_bytes(payload[4:8], "big") == ErrorCode.INTERNAL_ERROR
    assert logged == ["connection failed"]


# ---------------------------------------------------------------- who takes its time, or goes


async def test_half_a_call_holds_up_nobody(server: Served, connect: Any) -> None:
    halves = (
        raw.head(1)[:20],
        frames.frame(frames.HEADERS, 0, 1, raw.block()[:10]),
        raw.head(1),
        raw.request(1, b"x" * 100)[:-50],
    )
    for half in halves:
        await (await connect()).send(raw.opening() + half)
    await until(lambda: server.connections == 4)
    assert await server.channel().unary_unary("/test.Fake/Echo")(b"x") == b"x"


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_client_that_vanishes_ends_its_calls(server: Served, how: str) -> None:
    method: FakeMethod = server.behaviour.methods["test.Fake/Forever"]
    client = socket.create_connection(("127.0.0.1", server.port))
    client.sendall(raw.opening() + b"".join(raw.request(n, b"", "/test.Fake/Forever") for n in (1, 3, 5)))
    await until(lambda: len(method.calls) == 3)
    if how == "rst":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    await method.all_cancelled.wait()
    assert method.cancelled == 3
    await until(lambda: not server.connections)


async def test_a_client_that_reads_nothing_is_not_read_either(server: Served) -> None:
    client = socket.create_connection(("127.0.0.1", server.port))
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    wide = frames.window_update(0, 2**30)
    await loop.sock_sendall(client, raw.opening(2**30) + wide + raw.request(1, b"x" * 9_000, "/test.Fake/Count"))
    await until(lambda: any(one.peer.waiting for one in server.transport._connections))
    (connection,) = server.transport._connections
    assert connection.peer.paused
    assert not connection._transport.is_reading()
    assert connection._transport.get_write_buffer_size() < 1_000_000
    assert await server.channel().unary_unary("/test.Fake/Echo")(b"x") == b"x"
    got = 0
    while got < 9_000 * 9_005:
        got += len(await loop.sock_recv(client, 2**20))
    await until(lambda: not connection.peer.streams)
    assert connection._transport.is_reading()
    client.close()


async def test_connections_beyond_the_limit_cost_those_that_bring_nothing(
    server: Served, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.transport._connections, "_most", 5)
    channel = server.channel()
    method = server.behaviour.methods["test.Fake/Forever"]
    busy = channel.unary_unary("/test.Fake/Forever")(b"")
    await method.begun.wait()
    for _ in range(50):
        await connect()
    assert await server.channel().unary_unary("/test.Fake/Echo")(b"x") == b"x"
    assert server.connections <= 5
    assert not method.cancelled
    busy.cancel()


async def test_who_is_turned_away_for_another_may_connect_again(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.transport._connections, "_most", 2)
    channels = [server.channel() for _ in range(6)]
    for _ in range(3):
        for channel in channels:
            assert await channel.unary_unary("/test.Fake/Echo")(b"x") == b"x"
    assert server.connections == 2


# ---------------------------------------------------------------- turns


async def test_a_client_that_sends_much_at_once_lets_others_have_their_turn(
    server: Served, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever needs more than a turn goes on in the next one, once in each."""
    monkeypatch.setattr(http2, "TURN_S", -1.0)
    client = await connect()
    await client.send(raw.opening())
    await client.frame_of(SETTINGS)
    (connection,) = server.transport._connections
    took = []
    receive = connection.peer.receive

    def counted(data: bytes) -> bool:
        behind = receive(data)
        took.append((len(data), behind))
        return behind

    monkeypatch.setattr(connection.peer, "receive", counted)
    turns = 0
    await client.send(b"".join(raw.request(number, b"x") for number in range(1, 2_000, 2)))
    await until(lambda: took)
    begun = len(took)
    while connection._behind:
        turns += 1
        await asyncio.sleep(0)
    assert turns > 20
    assert len(took) - begun <= turns + 1
    assert all(not size for size, _ in took[1:][: turns - 1])
    got = [await client.frame_of(frames.DATA) for _ in range(1_000)]
    assert {payload[5:] for _, _, payload in got} == {b"x"}


async def test_clients_that_vanish_without_a_word_are_found_out(server: Served, connect: Any) -> None:
    await (await connect()).send(raw.opening())
    await until(lambda: server.connections)
    (connection,) = server.transport._connections
    sock = connection._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    for name, value in module._KEEPALIVE:
        if hasattr(socket, name):
            assert sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value


async def test_a_client_that_has_gone_before_it_is_greeted_raises_nothing(server: Served) -> None:
    class Gone:
        """Knows neither its peer nor its socket any more."""

        def get_extra_info(self, name: str) -> None:
            return None

    connection = server.transport._protocol()
    connection.connection_made(Gone())  # type: ignore[arg-type]
    assert (connection.peer.address, server.connections) == ("", 1)
    connection.connection_lost(None)
    assert server.connections == 0
