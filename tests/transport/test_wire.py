"""What clients and proxies count on, byte by byte, on both transports."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import importlib.util
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
import pytest

from tests.transport.fakes import Behaviour, echo, failing
from tests.transport.socket_wire import SocketWire, prefixed
from turnout_server.config import ErrorForm, LimitsConfig
from turnout_server.transport.call import Call
from turnout_server.transport.engine import EngineTransport
from turnout_server.transport.grpcio import GrpcioTransport

OK, EXHAUSTED, ABORTED, UNIMPLEMENTED = 0, 8, 10, 12
TRANSPORTS: dict[str, Any] = {"engine": EngineTransport, "grpcio": GrpcioTransport}
COMPRESSED: Any = pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    if request.param == "engine" and importlib.util.find_spec("turnout_engine") is None:
        pytest.skip("turnout-engine is not installed")
    return str(request.param)


@contextlib.asynccontextmanager
async def connected(
    transport: str, behaviour: Behaviour, errors: ErrorForm = "trailers_only"
) -> AsyncIterator[SocketWire]:
    """Serve *behaviour*, and connect to it."""
    server = TRANSPORTS[transport](behaviour.as_methods, LimitsConfig(), errors=errors)
    port = await server.start("127.0.0.1", 0)
    try:
        wire = SocketWire(*await asyncio.open_connection("127.0.0.1", port), window=65_535, reads=True)
        try:
            yield wire
        finally:
            await wire.close()
    finally:
        await server.say_goodbye()


# ---------------------------------------------------------------- errors

ERRORS: Any = pytest.mark.parametrize("errors", ["trailers_only", "headers_and_trailers"])


async def fail(raw: bytes, call: Call) -> bytes:
    raise failing(grpc.StatusCode.ABORTED, "no", (("x-why", "because"),))


async def fail_late(raw: bytes, call: Call) -> AsyncGenerator[bytes, None]:
    for _ in raw:
        yield b"x"
    raise failing(grpc.StatusCode.ABORTED, "no", (("x-why", "because"),))


@ERRORS
@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_an_error_is_one_with_its_headers_or_comes_after_them(
    transport: str, errors: ErrorForm, kind: str
) -> None:
    """Some proxies lose a status that stands in headers: Caddy is one."""
    behaviour = Behaviour()
    if kind == "unary":
        behaviour.unary("Do", fail)
    else:
        behaviour.server_stream("Do", fail_late)
    async with connected(transport, behaviour, errors) as wire:
        for _ in range(20):  # it is no matter of chance
            answer = await wire.call("Do")
            where, elsewhere = answer.headers, answer.trailers
            if errors == "headers_and_trailers":
                assert answer.headers[":status"] == "200"
                where, elsewhere = answer.trailers, answer.headers
            assert (answer.status, answer.message, where["x-why"]) == (ABORTED, "no", "because")
            assert "grpc-status" not in elsewhere
            assert answer.body == b""


@ERRORS
async def test_an_error_after_answers_is_in_the_trailers(transport: str, errors: ErrorForm) -> None:
    behaviour = Behaviour()
    behaviour.server_stream("Do", fail_late)
    async with connected(transport, behaviour, errors) as wire:
        answer = await wire.call("Do", b"ab")
    assert (answer.messages, answer.trailers["grpc-status"]) == ([b"x"] * 2, str(ABORTED))


async def test_the_engines_own_errors_come_after_headers_too() -> None:
    """Those of grpcio go out as it likes: no handler of ours ever sees those calls."""
    pytest.importorskip("turnout_engine")
    async with connected("engine", Behaviour(), "headers_and_trailers") as wire:
        answer = await wire.call("Nothing")
    assert answer.trailers["grpc-status"] == str(UNIMPLEMENTED)
    assert "grpc-status" not in answer.headers


# ---------------------------------------------------------------- requests


@COMPRESSED
@pytest.mark.parametrize("after", ["another", "bytes"])
async def test_what_follows_a_compressed_message_is_an_error(
    transport: str, encoding: str, compress: Any, after: str
) -> None:
    """It is never dropped unsaid."""
    behaviour = Behaviour()
    method = behaviour.unary("Do", echo)
    async with connected(transport, behaviour) as wire:
        for more, status in ((b"", OK), (compress(b"b") if after == "another" else b"b", None)):
            stream = wire.headers("Do", [("grpc-encoding", encoding)])
            wire.send(stream, prefixed(compress(b"a") + more, 1), end=True)
            answer = await wire.ended(stream)
            assert answer.status == status if status is not None else answer.status != OK
    assert len(method.calls) == 1


@pytest.mark.parametrize("content_type", ["application/grpc", "Application/GRPC", "application/grpc+proto"])
async def test_every_spelling_of_grpc_is_taken(transport: str, content_type: str) -> None:
    behaviour = Behaviour()
    behaviour.unary("Do", echo)
    async with connected(transport, behaviour) as wire:
        stream = wire.headers("Do", content_type=content_type)
        wire.send(stream, prefixed(b"x"), end=True)
        assert (await wire.ended(stream)).messages == [b"x"]


async def test_parts_of_tracestate_are_joined_and_of_others_the_last_counts(transport: str) -> None:
    behaviour = Behaviour()
    method = behaviour.unary("Do", echo)
    fields = [("tracestate", "a=1"), ("x-a", "1"), ("tracestate", "b=2"), ("x-a", "2"), ("tracestate", "c=3")]
    async with connected(transport, behaviour) as wire:
        await wire.call("Do", b"", fields)
    (call,) = method.calls
    assert (call.metadata["tracestate"], call.metadata["x-a"]) == ("a=1,b=2,c=3", "2")


async def test_sixteen_kilobytes_of_metadata_are_taken_and_much_more_is_not(transport: str) -> None:
    behaviour = Behaviour()
    method = behaviour.unary("Do", echo)
    async with connected(transport, behaviour) as wire:
        for _ in range(20):  # it is no matter of chance
            assert (await wire.call("Do", b"x", [("x-large", "x" * 16 * 1024)])).messages == [b"x"]
            many = [(f"x-{number:03}", "x" * 128) for number in range(16 * 1024 // 133)]
            assert (await wire.call("Do", b"x", many)).messages == [b"x"]
        assert len(method.calls[0].metadata["x-large"]) == 16 * 1024
        refused = await wire.call("Do", b"x", [("x-large", "x" * 25 * 1024)])
        assert refused.status == EXHAUSTED
        assert (await wire.call("Do", b"next")).messages == [b"next"]
