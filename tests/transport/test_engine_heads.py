"""What a call begins with: what is taken, and how the rest is refused."""

from __future__ import annotations

from typing import Any

import hpack
import pytest
from h2.errors import ErrorCodes as ErrorCode

from benchmarks import frames
from tests.transport import raw
from tests.transport.engine import (
    EXHAUSTED,
    INTERNAL,
    UNIMPLEMENTED,
    Engine,
)
from tests.transport.fakes import echo
from tests.transport.socket_wire import prefixed


@pytest.mark.parametrize(
    "content_type", ["application/grpc", "Application/GRPC", "application/grpc+proto", "application/grpc;charset=x"]
)
async def test_every_kind_of_grpc_is_taken(engine: Engine, content_type: str) -> None:
    wire, _ = await engine.unary(echo)
    stream = wire.headers("Do", content_type=content_type)
    wire.send(stream, prefixed(b"x"), end=True)
    assert (await wire.ended(stream)).messages == [b"x"]


@pytest.mark.parametrize("content_type", ["application/json", "application/grpc-web", "application/grpcx"])
async def test_other_content_types_are_refused_as_http_has_it(engine: Engine, content_type: str) -> None:
    wire, _ = await engine.unary(echo)
    assert (await wire.ended(wire.headers("Do", content_type=content_type))).headers[":status"] == "415"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "post"])
async def test_other_methods_than_post_are_refused(engine: Engine, method: str) -> None:
    wire, _ = await engine.unary(echo)
    headers = (await wire.ended(wire.headers("Do", method=method))).headers
    assert (headers[":status"], headers["allow"]) == ("405", "POST")


@pytest.mark.parametrize(
    ("path", "fields", "status", "text"),
    [
        ("Do/", [], UNIMPLEMENTED, "Method not found!"),
        ("Do?x=y", [], UNIMPLEMENTED, "Method not found!"),
        ("", [], UNIMPLEMENTED, "Method not found!"),
        ("Nothing", [], UNIMPLEMENTED, "Method not found!"),
        ("Do", [("grpc-encoding", "br")], UNIMPLEMENTED, "unknown grpc-encoding"),
        ("Do", [("grpc-encoding", "GZIP")], UNIMPLEMENTED, "unknown grpc-encoding"),
        ("Do", [("grpc-timeout", "1s")], INTERNAL, "malformed grpc-timeout"),
        ("Do", [("grpc-timeout", "123456789S")], INTERNAL, "malformed grpc-timeout"),
        ("Do", [("x-large", "x" * 24_576)], EXHAUSTED, "the metadata is larger than allowed"),
        ("Do", [("x-large", "x" * 30_000)], EXHAUSTED, "the metadata is larger than allowed"),
        ("Do", [(f"x-{n}", "") for n in range(700)], EXHAUSTED, "the metadata is larger than allowed"),
    ],
)
async def test_a_call_that_its_head_refuses_is_answered_at_once(
    engine: Engine, path: str, fields: Any, status: int, text: str
) -> None:
    wire, method = await engine.unary(echo)
    stream = wire.headers(path, fields)
    answer = await wire.ended(stream)
    assert (answer.headers[":status"], answer.status, answer.message) == ("200", status, text)
    assert answer.headers.get("grpc-accept-encoding") == ("identity,deflate,gzip" if "encoding" in text else None)
    wire.raw(frames.frame(frames.DATA, frames.END_STREAM, stream, prefixed(b"late")))  # it was on its way
    assert (await wire.call("Do", b"next")).messages == [b"next"]
    assert len(method.calls) == 1


async def test_a_client_may_call_the_server_whatever_it_likes(echoing: Engine) -> None:
    """Those of gRPC do, where they are given several addresses."""
    encoder = hpack.Encoder()
    said = [raw.opening()]
    for stream in (1, 3):  # the second time it is in the table
        fields = [(":method", "POST"), (":scheme", "http"), (":path", "/test.Fake/Echo")]
        fields += [(":authority", "10.0.0.1:80,10.0.0.2:80"), ("content-type", "application/grpc")]
        block = encoder.encode(fields, huffman=False)
        said.append(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block))
        said.append(frames.frame(frames.DATA, frames.END_STREAM, stream, prefixed(b"%d" % stream)))
    client = await echoing.client(*said)
    await client.until(lambda: len(client.of(frames.DATA)) == 2)
    assert {one.stream: one.payload for one in client.of(frames.DATA)} == {1: prefixed(b"1"), 3: prefixed(b"3")}


async def test_sixteen_kilobytes_of_metadata_are_taken(engine: Engine) -> None:
    wire, method = await engine.unary(echo)
    assert (await wire.call("Do", b"x", [("x-large", "x" * 16_000)])).messages == [b"x"]
    assert len(method.calls[0].metadata["x-large"]) == 16_000


async def test_metadata_is_what_is_neither_the_transports_nor_binary(engine: Engine) -> None:
    wire, method = await engine.unary(echo)
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
async def test_a_malformed_request_is_reset(engine: Engine, fields: Any) -> None:
    _, method = await engine.unary(echo)
    loose = await engine.wire(validate_outbound_headers=False, normalize_outbound_headers=False)
    stream = loose.headers("Do", fields)
    assert (await loose.ended(stream)).reset == ErrorCode.PROTOCOL_ERROR
    assert (await loose.call("Do", b"next")).messages == [b"next"]
    assert len(method.calls) == 1
