"""What unary and streaming calls have in common: what the handler sees, and what is left when they end."""

from __future__ import annotations

import asyncio

import pytest

from tests.transport.native.fakes import Behaviour
from tests.transport.native.wire import Wire, prefixed
from turnout_server.http2.codes import ErrorCode

BOTH = pytest.mark.parametrize("path", ["Echo", "EchoEach"])
INTERNAL = 13


@BOTH
@pytest.mark.parametrize("length", ["3", "30"])
async def test_a_body_of_another_length_than_announced_is_reset(behaviour: Behaviour, path: str, length: str) -> None:
    wire = Wire(behaviour)
    stream = wire.headers(path, [("content-length", length)])
    wire.send(stream, prefixed(b"hello"), end=True)
    wire.exchange()
    assert wire.answers[stream].reset == ErrorCode.PROTOCOL_ERROR
    assert not wire.peer.streams


@BOTH
async def test_a_message_that_ends_in_the_middle_has_a_status(behaviour: Behaviour, path: str) -> None:
    wire = Wire(behaviour)
    stream = wire.headers(path)
    wire.send(stream, prefixed(b"hello")[:-1], end=True)
    answer = await wire.ended(stream)
    assert answer.status == INTERNAL
    assert behaviour.methods[f"test.Fake/{path}"].gate.inside == 0


async def test_a_call_without_timeout_has_no_deadline(behaviour: Behaviour) -> None:
    wire = Wire(behaviour)
    wire.call("Echo", b"")
    stream = wire.headers("Echo", [("grpc-timeout", "5S")])
    wire.send(stream, prefixed(b""), end=True)
    wire.exchange()
    first, second = behaviour.methods["test.Fake/Echo"].calls
    assert first.deadline is None
    assert second.deadline is not None


async def test_a_client_that_goes_cancels_the_handler(behaviour: Behaviour) -> None:
    wire = Wire(behaviour)
    wire.call("Forever")
    method = behaviour.methods["test.Fake/Forever"]
    wire.peer.lose_everything()
    async with asyncio.timeout(60):
        await method.all_cancelled.wait()
    assert (method.cancelled, wire.peer.streams) == (1, {})
