"""What a call begins with: what is taken, and how the rest is refused."""

from __future__ import annotations

from typing import Any

import hpack
import pytest

from benchmarks import frames
from tests.transport import raw
from tests.transport.engine import (
    Engine,
)
from tests.transport.fakes import echo
from tests.transport.socket_wire import prefixed


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


@pytest.mark.parametrize("method", ["GET", "post"])
async def test_who_does_not_post_is_told_to(engine: Engine, method: str) -> None:
    wire, _ = await engine.unary(echo)
    assert (await wire.ended(wire.headers("Do", method=method))).headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("path", "fields", "text"),
    [
        ("Nothing", [], "Method not found!"),
        ("Do", [("grpc-encoding", "br")], "unknown grpc-encoding"),
        ("Do", [("grpc-timeout", "1s")], "malformed grpc-timeout"),
        ("Do", [("x-large", "x" * 30_000)], "the metadata is larger than allowed"),
    ],
)
async def test_a_call_that_its_head_refuses_is_told_why(engine: Engine, path: str, fields: Any, text: str) -> None:
    wire, _ = await engine.unary(echo)
    assert (await wire.ended(wire.headers(path, fields))).message == text


async def test_a_handler_is_told_where_its_caller_is(engine: Engine) -> None:
    wire, method = await engine.unary(echo)
    await wire.call("Do", b"")
    host, _, port = method.calls[0].address.rpartition(":")
    assert (host, int(port)) == wire.writer.get_extra_info("sockname")
