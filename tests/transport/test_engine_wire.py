"""The engine byte by byte, where that matters: what its clients may do, and what they get for it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import random
import socket
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import hpack
import pytest
from h2.errors import ErrorCodes as ErrorCode

pytest.importorskip("turnout_engine")

from benchmarks import frames
from tests.transport import raw
from tests.transport.fakes import Behaviour, FakeMethod, count, echo, echo_each, failing, forever
from tests.transport.socket_wire import SocketWire, prefixed
from turnout_server.config import LimitsConfig
from turnout_server.transport import engine as module
from turnout_server.transport.call import Call
from turnout_server.transport.engine import EngineTransport

OK, EXPIRED, EXHAUSTED, ABORTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 4, 8, 10, 12, 13, 14
MAX_MESSAGE = 1_000_000
WINDOW = 256 * 1024
STREAMS = 256
PATIENCE_S = 60.0
UNARY = pytest.mark.parametrize("quick", [True, False])
ENCODINGS: Any = pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)


class Server:
    """The engine, and clients of it."""

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.transport: EngineTransport
        self.port = 0
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        self.transport = EngineTransport(self.behaviour.as_methods, LimitsConfig(max_message_bytes=MAX_MESSAGE))
        self.port = await self.transport.start("127.0.0.1", 0)

    async def unary(self, act: Callable[[bytes, Call], Awaitable[bytes]], quick: bool = True, **options: Any) -> Any:
        """Serve a unary method, and connect to it."""
        method = self.behaviour.unary("Do", act, quick)
        await self.start()
        return await self.wire(**options), method

    async def out(self, act: Any, **options: Any) -> Any:
        """Serve a method with many answers, and connect to it."""
        method = self.behaviour.server_stream("Do", act)
        await self.start()
        return await self.wire(**options), method

    async def both(self, act: Any, **options: Any) -> Any:
        """Serve a method with many messages each way, and connect to it."""
        method = self.behaviour.both_stream("Do", act)
        await self.start()
        return await self.wire(**options), method

    async def wire(self, **options: Any) -> SocketWire:
        wire = await SocketWire.connect(self.port, **options)
        self._stack.push_async_callback(wire.close)
        return wire

    async def raw(self, *said: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, and say this."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._stack.callback(writer.close)
        writer.write(b"".join(said))
        return reader, writer

    async def close(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self._stack.aclose()
        await self.transport.say_goodbye()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    yield server
    await server.close()


@pytest.fixture
async def echoing(server: Server) -> Server:
    """A server of a method of each kind."""
    server.behaviour.unary("Echo", echo)
    server.behaviour.unary("Forever", forever)
    server.behaviour.server_stream("Count", count)
    server.behaviour.both_stream("EchoEach", echo_each)
    await server.start()
    return server


async def soon(done: Callable[[], Any]) -> None:
    """Wait until *done*, which threads of the engine bring about."""
    async with asyncio.timeout(PATIENCE_S):
        while not done():
            await asyncio.sleep(0.001)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Return everything until the server hangs up."""
    data = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE_S):
            while piece := await reader.read(2**16):
                data += piece
    return data


def frame_in(data: bytes, kind: int) -> tuple[int, int, bytes]:
    """Return flags, stream and payload of the first frame of *kind*."""
    while data:
        length_and_kind, flags, stream = frames.HEADER.unpack_from(data)
        end = frames.HEADER.size + (length_and_kind >> 8)
        if length_and_kind & 0xFF == kind:
            return flags, stream, data[frames.HEADER.size : end]
        data = data[end:]
    raise LookupError(f"there is no frame of kind {kind}")


# ---------------------------------------------------------------- unary calls


async def test_an_answer_is_headers_a_message_and_trailers(server: Server) -> None:
    wire, _ = await server.unary(echo)
    answer = await wire.call("Do", b"hello")
    assert answer.headers == {":status": "200", "content-type": "application/grpc"}
    assert (answer.messages, answer.trailers) == ([b"hello"], {"grpc-status": "0"})


@pytest.mark.parametrize("end_apart", [True, False])
async def test_a_body_may_come_in_any_pieces(server: Server, end_apart: bool) -> None:
    wire, _ = await server.unary(echo)
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


async def test_trailers_of_a_request_end_it(server: Server) -> None:
    wire, _ = await server.unary(echo)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"hello"))
    wire.client.send_headers(stream, [("x-checksum", "1")], end_stream=True)
    wire.flush()
    assert (await wire.ended(stream)).messages == [b"hello"]


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
@pytest.mark.parametrize("kind", ["unary", "out"])
async def test_a_body_that_is_not_one_message_is_refused_and_not_handled(
    server: Server, kind: str, body: bytes, status: int
) -> None:
    wire, method = await (server.unary(echo) if kind == "unary" else server.out(count))
    stream = wire.headers("Do")
    wire.send(stream, body, end=True)
    answer = await wire.ended(stream)
    assert (answer.status, answer.body) == (status, b"")
    assert not method.calls
    assert (await wire.call("Do", b"n")).messages == [b"n"]


async def test_too_large_a_message_is_refused_before_it_is_sent(server: Server) -> None:
    wire, _ = await server.unary(echo)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"x" * (MAX_MESSAGE + 1))[:100])
    answer = await wire.ended(stream)
    assert answer.status == EXHAUSTED
    assert answer.message == f"Received message larger than max ({MAX_MESSAGE + 1} vs. {MAX_MESSAGE})"
    assert answer.headers["grpc-retry-pushback-ms"] == "-1"
    assert answer.reset in (None, ErrorCode.NO_ERROR)


@pytest.mark.parametrize("length", [4, 11])
async def test_a_body_of_another_length_than_announced_is_reset(server: Server, length: int) -> None:
    wire, method = await server.unary(echo)
    stream = wire.headers("Do", [("content-length", str(length))])
    # h2 would not send such a body itself.
    wire.raw(frames.frame(frames.DATA, frames.END_STREAM, stream, prefixed(b"hello")))
    assert (await wire.ended(stream)).reset == ErrorCode.PROTOCOL_ERROR
    assert not method.calls
    assert (await wire.call("Do", b"next")).messages == [b"next"]


@pytest.mark.parametrize("size", [16_378, 16_379, 16_380, 65_530, 65_531, 200_000, MAX_MESSAGE])
async def test_a_message_of_any_size_comes_and_goes_whole(server: Server, size: int) -> None:
    message = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    wire, _ = await server.unary(echo)
    stream = wire.headers("Do")
    await wire.upload(stream, prefixed(message))
    answer = await wire.ended(stream)
    assert (answer.messages, answer.status, answer.ended) == ([message], OK, True)


@pytest.mark.parametrize("size", [5, 100_000])
async def test_a_client_without_any_window_gets_its_answer_once_it_has_one(server: Server, size: int) -> None:
    async def act(raw: bytes, call: Call) -> bytes:
        return b"x" * size

    wire, _ = await server.unary(act, window=0, reads=False)
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


async def test_an_answer_that_is_not_read_does_not_stop_others(server: Server) -> None:
    async def act(raw: bytes, call: Call) -> bytes:
        return raw * 1_000

    wire, _ = await server.unary(act, window=100, reads=False)
    stuck = wire.answers[wire.ask("Do", b"x")]
    assert (await wire.call("Do", b"")).messages == [b""]
    assert not stuck.ended


async def test_large_messages_take_turns_when_there_is_no_room_for_all(server: Server) -> None:
    wire, _ = await server.unary(echo)
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
async def test_room_of_a_message_that_never_comes_whole_goes_to_the_next(server: Server, end: str) -> None:
    wire, method = await server.unary(echo)
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


async def test_a_whole_message_keeps_its_room_until_the_client_has_ended_its_side(server: Server) -> None:
    wire, method = await server.unary(echo)
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


async def test_a_second_long_message_is_refused_before_it_comes(server: Server) -> None:
    wire, method = await server.unary(echo)
    stream = wire.headers("Do")
    body = prefixed(b"x" * MAX_MESSAGE)
    await wire.upload(stream, body + body[:10], end=False)
    assert (await wire.ended(stream)).status not in (None, OK)
    assert not method.calls


@ENCODINGS
@UNARY
async def test_compressed_messages_are_taken(server: Server, encoding: str, compress: Any, quick: bool) -> None:
    wire, _ = await server.unary(echo, quick)
    for message in (b"", b"hello", b"hello" * 100_000):
        stream = wire.headers("Do", [("grpc-encoding", encoding)])
        await wire.upload(stream, prefixed(compress(message), 1))
        answer = await wire.ended(stream)
        assert (answer.messages, answer.status) == ([message], OK)


@ENCODINGS
@pytest.mark.parametrize("after", ["another", "bytes"])
async def test_what_follows_a_compressed_message_is_an_error(
    server: Server, encoding: str, compress: Any, after: str
) -> None:
    wire, method = await server.unary(echo)
    stream = wire.headers("Do", [("grpc-encoding", encoding)])
    more = compress(b"b") if after == "another" else b"b"
    wire.send(stream, prefixed(compress(b"a") + more, 1), end=True)
    answer = await wire.ended(stream)
    assert (answer.status, answer.message) == (INTERNAL, f"a message goes on after its end as {encoding}")
    assert not method.calls


async def test_a_message_may_be_sent_as_it_is_where_others_are_compressed(server: Server) -> None:
    wire, _ = await server.unary(echo)
    assert (await wire.call("Do", b"plain", [("grpc-encoding", "gzip")])).messages == [b"plain"]


async def test_a_bomb_ends_its_call_and_no_other(server: Server) -> None:
    wire, method = await server.unary(echo)
    stream = wire.headers("Do", [("grpc-encoding", "gzip")])
    wire.send(stream, prefixed(gzip.compress(bytes(MAX_MESSAGE + 1)), 1), end=True)
    assert (await wire.ended(stream)).status == EXHAUSTED
    assert not method.calls
    assert (await wire.call("Do", b"next")).status == OK


# ---------------------------------------------------------------- heads


@pytest.mark.parametrize(
    "content_type", ["application/grpc", "Application/GRPC", "application/grpc+proto", "application/grpc;charset=x"]
)
async def test_every_kind_of_grpc_is_taken(server: Server, content_type: str) -> None:
    wire, _ = await server.unary(echo)
    stream = wire.headers("Do", content_type=content_type)
    wire.send(stream, prefixed(b"x"), end=True)
    assert (await wire.ended(stream)).messages == [b"x"]


@pytest.mark.parametrize("content_type", ["application/json", "application/grpc-web", "application/grpcx"])
async def test_other_content_types_are_refused_as_http_has_it(server: Server, content_type: str) -> None:
    wire, _ = await server.unary(echo)
    assert (await wire.ended(wire.headers("Do", content_type=content_type))).headers[":status"] == "415"


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "post"])
async def test_other_methods_than_post_are_refused(server: Server, method: str) -> None:
    wire, _ = await server.unary(echo)
    headers = (await wire.ended(wire.headers("Do", method=method))).headers
    assert (headers[":status"], headers["allow"]) == ("405", "POST")


@pytest.mark.parametrize(
    ("path", "fields", "status", "text"),
    [
        ("Do/", [], UNIMPLEMENTED, "Method not found!"),
        ("Do?x=y", [], UNIMPLEMENTED, "Method not found!"),
        ("Nothing", [], UNIMPLEMENTED, "Method not found!"),
        ("Do", [("grpc-encoding", "br")], UNIMPLEMENTED, "unknown grpc-encoding"),
        ("Do", [("grpc-encoding", "GZIP")], UNIMPLEMENTED, "unknown grpc-encoding"),
        ("Do", [("grpc-timeout", "1s")], INTERNAL, "malformed grpc-timeout"),
        ("Do", [("grpc-timeout", "123456789S")], INTERNAL, "malformed grpc-timeout"),
        ("Do", [("x-large", "x" * 16_384)], EXHAUSTED, "the metadata is larger than allowed"),
        ("Do", [("x-large", "x" * 30_000)], EXHAUSTED, "the metadata is larger than allowed"),
        ("Do", [(f"x-{n}", "") for n in range(500)], EXHAUSTED, "the metadata is larger than allowed"),
    ],
)
async def test_a_call_that_its_head_refuses_is_answered_at_once(
    server: Server, path: str, fields: Any, status: int, text: str
) -> None:
    wire, method = await server.unary(echo)
    stream = wire.headers(path, fields)
    answer = await wire.ended(stream)
    assert (answer.headers[":status"], answer.status, answer.message) == ("200", status, text)
    assert answer.headers.get("grpc-accept-encoding") == ("identity,deflate,gzip" if "encoding" in text else None)
    wire.raw(frames.frame(frames.DATA, frames.END_STREAM, stream, prefixed(b"late")))  # it was on its way
    assert (await wire.call("Do", b"next")).messages == [b"next"]
    assert len(method.calls) == 1


async def test_a_client_may_call_the_server_whatever_it_likes(echoing: Server) -> None:
    """Those of gRPC do, where they are given several addresses."""
    encoder = hpack.Encoder()
    said = [raw.opening()]
    for stream in (1, 3):  # the second time it is in the table
        fields = [(":method", "POST"), (":scheme", "http"), (":path", "/test.Fake/Echo")]
        fields += [(":authority", "10.0.0.1:80,10.0.0.2:80"), ("content-type", "application/grpc")]
        block = encoder.encode(fields, huffman=False)
        said.append(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block))
        said.append(frames.frame(frames.DATA, frames.END_STREAM, stream, prefixed(b"%d" % stream)))
    reader, _ = await echoing.raw(*said)
    data = b""
    async with asyncio.timeout(PATIENCE_S):
        while prefixed(b"1") not in data or prefixed(b"3") not in data:
            data += await reader.read(1_000)


async def test_sixteen_kilobytes_of_metadata_are_taken(server: Server) -> None:
    wire, method = await server.unary(echo)
    assert (await wire.call("Do", b"x", [("x-large", "x" * 16_000)])).messages == [b"x"]
    assert len(method.calls[0].metadata["x-large"]) == 16_000


async def test_metadata_is_what_is_neither_the_transports_nor_binary(server: Server) -> None:
    wire, method = await server.unary(echo)
    fields = [
        ("x-turnout-unit", "first"),
        ("user-agent", "me"),
        ("x-key-bin", "AAAA"),
        ("grpc-timeout", "10S"),
        ("grpc-accept-encoding", "gzip"),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
        ("x-turnout-unit", "last"),
        ("x-utf8", "wörd"),
    ]
    await wire.call("Do", b"", fields)
    (call,) = method.calls
    assert call.metadata == {
        "x-turnout-unit": "last",
        "user-agent": "me",
        "tracestate": "a=1,b=2",
        "x-utf8": "wörd",
    }
    host, _, port = call.address.rpartition(":")
    assert (host, int(port)) == wire.writer.get_extra_info("sockname")


@pytest.mark.parametrize(
    "fields", [[("connection", "close")], [("te", "gzip")], [("content-length", "x")], [(":path", "/twice")]]
)
async def test_a_malformed_request_is_reset(server: Server, fields: Any) -> None:
    _, method = await server.unary(echo)
    loose = await server.wire(validate_outbound_headers=False, normalize_outbound_headers=False)
    stream = loose.headers("Do", fields)
    assert (await loose.ended(stream)).reset == ErrorCode.PROTOCOL_ERROR
    assert (await loose.call("Do", b"next")).messages == [b"next"]
    assert len(method.calls) == 1


# ---------------------------------------------------------------- how calls end


@UNARY
async def test_a_failure_is_a_status_with_its_trailers(server: Server, quick: bool) -> None:
    async def act(raw: bytes, call: Call) -> bytes:
        raise failing(grpc.StatusCode.ABORTED, "50% wrong", (("x-why", "because"), ("x-data-bin", b"\0\1\2\3")))

    wire, _ = await server.unary(act, quick)
    answer = await wire.call("Do")
    assert (answer.status, answer.message, answer.body) == (ABORTED, "50%25 wrong", b"")
    assert (answer.headers["x-why"], answer.headers["x-data-bin"]) == ("because", "AAECAw")


@UNARY
@pytest.mark.parametrize("late", [False, True])
async def test_what_nobody_expected_is_internal_and_says_nothing(server: Server, quick: bool, late: bool) -> None:
    async def act(raw: bytes, call: Call) -> bytes:
        if late:
            await asyncio.sleep(0)
        raise ZeroDivisionError("secret")

    wire, _ = await server.unary(act, quick)
    answer = await wire.call("Do")
    assert answer.status == INTERNAL
    assert "secret" not in str(answer.headers)


@UNARY
@pytest.mark.parametrize("late", [False, True])
async def test_a_handler_that_is_cancelled_from_within_ends_its_call_and_not_the_connection(
    server: Server, quick: bool, late: bool
) -> None:
    gone: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    if not late:
        gone.cancel()

    async def act(raw: bytes, call: Call) -> bytes:
        return await gone if raw else b"fine"

    wire, method = await server.unary(act, quick)
    stream = wire.ask("Do", b"x")
    await soon(lambda: method.calls)
    gone.cancel()
    assert (await wire.ended(stream)).status == UNAVAILABLE
    assert (await wire.call("Do")).messages == [b"fine"]


async def test_a_bug_of_ours_ends_one_call_and_is_logged(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []

    class Log:
        def exception(self, event: str, **facts: str) -> None:
            logged.append(event)

    wire, _ = await server.unary(echo)
    method = server.behaviour.methods.pop("test.Fake/Do")
    monkeypatch.setattr(module, "_log", Log())
    assert (await wire.call("Do")).status == INTERNAL
    server.behaviour.methods["test.Fake/Do"] = method
    assert (await wire.call("Do", b"next")).messages == [b"next"]
    assert logged == ["event failed"]


@UNARY
async def test_a_deadline_that_passes_is_answered_and_cancels_the_handler(server: Server, quick: bool) -> None:
    wire, method = await server.unary(forever, quick)
    answer = await wire.call("Do", fields=[("grpc-timeout", "50m")])
    assert (answer.status, answer.message) == (EXPIRED, "Deadline Exceeded")
    await method.all_cancelled.wait()
    assert method.cancelled == 1


async def test_the_deadline_holds_for_a_request_that_never_comes_whole(server: Server) -> None:
    wire, method = await server.unary(echo)
    stream = wire.headers("Do", [("grpc-timeout", "1n")])
    wire.send(stream, prefixed(b"hello")[:7])
    assert (await wire.ended(stream)).status == EXPIRED
    assert not method.calls


@pytest.mark.parametrize("read", [True, False])
async def test_a_deadline_ends_a_stream_whether_its_answers_are_read_or_not(server: Server, read: bool) -> None:
    async def endless(raw: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        yield b"x" * 100
        await asyncio.get_running_loop().create_future()

    wire, method = await server.out(endless, window=10, reads=read)
    stream = wire.ask("Do", fields=[("grpc-timeout", "200m")])
    if read:
        answer = await wire.ended(stream)
        assert (answer.status, ":status" in answer.trailers) == (EXPIRED, False)
    await method.all_cancelled.wait()
    assert method.cancelled == 1


def stubborn(release: asyncio.Event) -> Any:
    """Return a handler that goes on after it was cancelled, until *release*."""

    async def act(raw: bytes, call: Call) -> bytes:
        try:
            return await forever(raw, call)
        except asyncio.CancelledError:
            await release.wait()
            return b"too late"

    return act


@UNARY
async def test_streams_that_are_reset_count_as_long_as_their_handlers_run(server: Server, quick: bool) -> None:
    release = asyncio.Event()
    wire, method = await server.unary(stubborn(release), quick)
    resets = 0
    for _ in range(STREAMS + 20):
        stream = wire.ask("Do")
        begun = len(method.calls)
        await wire_or(wire, stream, lambda begun=begun: len(method.calls) > begun)
        if wire.answers[stream].reset is None:
            wire.client.reset_stream(stream)
            wire.flush()
        else:
            resets += wire.answers[stream].reset == ErrorCode.REFUSED_STREAM
    assert (len(method.calls), resets) == (STREAMS, 20)
    release.set()
    await method.all_cancelled.wait()
    server.behaviour.methods["test.Fake/Do"]._act = echo
    for _ in range(100):  # until the engine has heard of their end
        answer = await wire.call("Do", b"again")
        if answer.reset is None:
            break
    assert answer.messages == [b"again"]


async def wire_or(wire: SocketWire, stream: int, done: Callable[[], Any]) -> None:
    """Wait until *done*, or *stream* was reset."""
    reading = asyncio.ensure_future(wire.until(lambda: wire.answers[stream].reset is not None))
    await soon(lambda: done() or reading.done())
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading


async def test_an_answer_after_the_client_left_is_dropped(server: Server) -> None:
    release = asyncio.Event()
    wire, method = await server.unary(stubborn(release))
    stream = wire.ask("Do")
    await method.begun.wait()
    wire.client.reset_stream(stream)
    wire.flush()
    release.set()
    await method.all_cancelled.wait()
    server.behaviour.methods["test.Fake/Do"]._act = echo
    assert (await wire.call("Do", b"next")).messages == [b"next"]
    assert not wire.answers[stream].headers


# ---------------------------------------------------------------- streams


async def test_answers_come_one_by_one_and_then_the_status(server: Server) -> None:
    wire, _ = await server.out(count)
    answer = await wire.call("Do", b"abc")
    assert answer.headers == {":status": "200", "content-type": "application/grpc"}
    assert (answer.messages, answer.trailers) == ([b"abc"] * 3, {"grpc-status": "0"})


async def test_without_any_answer_headers_and_trailers_are_one(server: Server) -> None:
    wire, _ = await server.out(count)
    answer = await wire.call("Do", b"")
    assert (answer.status, answer.body, answer.trailers) == (OK, b"", {})


@pytest.mark.parametrize("answers_before", [0, 2])
async def test_a_failure_comes_after_what_was_answered(server: Server, answers_before: int) -> None:
    async def act(raw: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        for _ in range(answers_before):
            yield b"x"
        raise failing(grpc.StatusCode.ABORTED, "no more", (("x-why", "because"),))

    wire, _ = await server.out(act)
    answer = await wire.call("Do")
    assert (answer.messages, answer.status, answer.message) == ([b"x"] * answers_before, ABORTED, "no more")
    assert ":status" not in answer.trailers


async def test_a_server_that_is_not_read_stops_making_answers(server: Server) -> None:
    made = itertools.count()

    async def endless(raw: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        while True:
            next(made)
            yield b"x" * 1_000

    wire, method = await server.out(endless, window=10_000, reads=False)
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


async def test_each_message_is_answered_before_the_next_is_sent(server: Server) -> None:
    wire, _ = await server.both(echo_each)
    stream = wire.headers("Do")
    answer = wire.answers[stream]
    for number in range(3):
        wire.send(stream, prefixed(b"%d" % number))
        await wire.until(lambda number=number: len(answer.body) == 6 * (number + 1))
    wire.client.end_stream(stream)
    wire.flush()
    await wire.ended(stream)
    assert (answer.messages, answer.status) == ([b"0", b"1", b"2"], OK)


@pytest.mark.parametrize("end_apart", [True, False])
async def test_messages_may_be_cut_and_joined_in_any_way(server: Server, end_apart: bool) -> None:
    wire, _ = await server.both(echo_each)
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


async def test_a_handler_begins_before_the_client_has_said_anything(server: Server) -> None:
    async def greet(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        yield b"welcome"
        async for request in requests:
            yield request

    wire, _ = await server.both(greet)
    stream = wire.headers("Do")
    await wire.until(lambda: wire.answers[stream].body)
    wire.send(stream, prefixed(b"thanks"), end=True)
    assert (await wire.ended(stream)).messages == [b"welcome", b"thanks"]


async def test_a_stream_may_end_with_its_headers(server: Server) -> None:
    wire, _ = await server.both(echo_each)
    answer = await wire.ended(wire.headers("Do", end=True))
    assert (answer.status, answer.body) == (OK, b"")


async def test_a_handler_that_has_heard_enough_ends_the_stream_for_both(server: Server) -> None:
    async def first(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        async for request in requests:
            yield request
            return

    wire, _ = await server.both(first)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"a"))
    answer = await wire.ended(stream)
    assert (answer.messages, answer.status) == ([b"a"], OK)
    assert answer.reset in (None, ErrorCode.NO_ERROR)


@pytest.mark.parametrize("bad", [prefixed(b"x", 9), b"\0" + (MAX_MESSAGE + 1).to_bytes(4, "big")])
async def test_a_bad_message_ends_the_call_after_the_answers_that_went_out(server: Server, bad: bytes) -> None:
    wire, method = await server.both(echo_each)
    stream = wire.headers("Do")
    wire.send(stream, prefixed(b"a"))
    await wire.until(lambda: wire.answers[stream].body)
    wire.send(stream, bad)
    answer = await wire.ended(stream)
    assert answer.messages == [b"a"]
    assert answer.status in (INTERNAL, EXHAUSTED)
    await method.all_cancelled.wait()


async def test_compressed_messages_come_in_their_order(server: Server) -> None:
    wire, _ = await server.both(echo_each)
    stream = wire.headers("Do", [("grpc-encoding", "gzip")])
    for message in (prefixed(gzip.compress(b"a"), 1), prefixed(b"b"), prefixed(gzip.compress(b"c"), 1)):
        wire.send(stream, message)
    wire.client.end_stream(stream)
    wire.flush()
    assert (await wire.ended(stream)).messages == [b"a", b"b", b"c"]


def sizes_after(release: asyncio.Event) -> Any:
    """Return a handler that takes nothing until *release*, and then answers each message with its size."""

    async def slow(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        await release.wait()
        async for request in requests:
            yield b"%d" % len(request)

    return slow


async def test_a_handler_that_does_not_read_stops_its_client_and_nobody_else(server: Server) -> None:
    release = asyncio.Event()
    wire, _ = await server.both(sizes_after(release))
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


async def test_a_long_stream_never_runs_out_of_room(server: Server) -> None:
    wire, _ = await server.both(echo_each)
    stream = wire.headers("Do")
    sizes = [1, 300, WINDOW - 5, WINDOW - 4, 500_000, 0, MAX_MESSAGE, 1_000, 170_000, 7] * 2
    for size in sizes:
        await wire.upload(stream, prefixed(b"m" * size), end=False)
    wire.client.end_stream(stream)
    wire.flush()
    answer = await wire.ended(stream)
    assert [len(message) for message in answer.messages] == sizes


async def test_a_large_message_that_nobody_asks_for_gets_no_room(server: Server) -> None:
    """Else a client that reads no answers, so that its requests are not taken either, could fill the memory."""
    release = asyncio.Event()
    wire, _ = await server.both(sizes_after(release))
    body = prefixed(b"x" * MAX_MESSAGE)
    stream = wire.headers("Do")
    wire.send(stream, body[:WINDOW])
    await wire.call("Nothing")
    assert wire.room(stream) == 0
    release.set()
    await wire.upload(stream, body[WINDOW:])
    assert (await wire.ended(stream)).messages == [b"%d" % MAX_MESSAGE]


async def test_a_reset_is_heard_by_a_handler_that_waits_for_messages(server: Server) -> None:
    wire, method = await server.both(echo_each)
    stream = wire.headers("Do")
    await method.begun.wait()
    wire.client.reset_stream(stream)
    wire.flush()
    await method.all_cancelled.wait()
    assert method.cancelled == 1


async def test_when_the_gate_closes_what_was_sent_is_answered_and_no_more_awaited(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IN_TRANSIT_S", 0.5)
    release = asyncio.Event()

    async def slow(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        await release.wait()
        async for request in requests:
            yield request

    wire, method = await server.both(slow)
    busy, waiting = wire.headers("Do"), wire.headers("Do")
    wire.send(busy, prefixed(b"a") + prefixed(b"b"))
    await soon(lambda: len(method.calls) == 2)
    release.set()
    method.gate.close()
    answer = await wire.ended(busy)
    assert (answer.messages, (await wire.ended(waiting)).messages) == ([b"a", b"b"], [])
    assert not method.gate._when_closing


# ---------------------------------------------------------------- who does not speak HTTP/2, or breaks its rules


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.1\r\n", b"POST /a/b HTTP/1.1\r\nHost: here\r\n", b"HEAD / HTTP/1.0\r\n"]
)
async def test_http1_is_told_what_is_spoken_here(echoing: Server, line: bytes) -> None:
    reader, _ = await echoing.raw(line + b"\r\n")
    answer = await rest(reader)
    assert answer.startswith(b"HTTP/1.1 505 ")
    head, _, text = answer.partition(b"\r\n\r\n")
    assert b"gRPC" in text
    assert b"Content-Length: %d" % len(text) in head


async def test_garbage_is_told_so_and_hung_up_on(echoing: Server) -> None:
    draw = random.Random(7)
    for _ in range(30):
        reader, _ = await echoing.raw(draw.randbytes(draw.randrange(30, 3_000)))
        _, _, payload = frame_in(await rest(reader), frames.GOAWAY)
        assert int.from_bytes(payload[4:8], "big") == ErrorCode.PROTOCOL_ERROR


async def test_a_preface_that_comes_in_bytes_is_one(echoing: Server) -> None:
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
async def test_who_does_not_begin_with_settings_is_hung_up_on(echoing: Server, data: bytes, codes: set[int]) -> None:
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
    echoing: Server, data: bytes, code: ErrorCode | None
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


async def test_half_a_call_holds_up_nobody(echoing: Server) -> None:
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
async def test_a_client_that_vanishes_ends_its_calls(echoing: Server, how: str) -> None:
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


@pytest.fixture
def one_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: {3}, raising=False)


async def test_connections_beyond_the_limit_cost_those_that_bring_nothing(
    server: Server, one_shard: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "most_connections", lambda: 5)
    server.behaviour.unary("Echo", echo)
    wire, method = await server.unary(forever)
    wire.ask("Do")
    await method.begun.wait()
    for _ in range(50):
        await server.raw()
    other = await server.wire()
    assert (await other.call("Echo", b"x")).messages == [b"x"]
    await soon(lambda: server.transport.connections <= 5)
    assert not method.cancelled


async def test_who_is_turned_away_for_another_may_connect_again(
    server: Server, one_shard: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "most_connections", lambda: 2)
    await server.unary(echo)
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]) for _ in range(4)
    ]
    for _ in range(3):
        for channel in channels:
            assert await channel.unary_unary("/test.Fake/Do")(b"x") == b"x"
    await soon(lambda: server.transport.connections == 2)
    for channel in channels:
        await channel.close()


async def test_pings_without_calls_are_no_offence(server: Server) -> None:
    wire, _ = await server.unary(echo)
    for number in range(1_000):
        wire.client.ping(number.to_bytes(8, "big"))
        wire.flush()
    assert (await wire.call("Do", b"x")).messages == [b"x"]
    assert wire.terminated is None


async def test_a_client_may_reset_as_many_calls_as_it_likes_now_and_then(server: Server) -> None:
    wire, _ = await server.unary(echo)
    for _ in range(20):
        for _ in range(150):
            wire.client.reset_stream(wire.ask("Do", b"x"))
        wire.flush()
        assert (await wire.call("Do", b"x")).messages == [b"x"]
    assert wire.terminated is None
