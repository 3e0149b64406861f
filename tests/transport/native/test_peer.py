"""One client's connection: which calls it opens, and what is said to those that it does not."""

from __future__ import annotations

import asyncio
from typing import Any

import h2.exceptions
import pytest

from tests.transport.native.fakes import Behaviour
from tests.transport.native.wire import Wire, prefixed
from turnout_server.http2.codes import ErrorCode
from turnout_server.http2.server import Limits
from turnout_server.transport.native import peer as module
from turnout_server.transport.native.peer import Peer

UNAVAILABLE, EXHAUSTED, UNIMPLEMENTED, INTERNAL = 14, 8, 12, 13


@pytest.mark.parametrize(
    ("begin", "fields", "expected"),
    [
        ({"path": "Nothing"}, (), {"grpc-status": "12", "grpc-message": "Method not found!"}),
        ({}, (("grpc-encoding", "snappy"),), {"grpc-status": "12", "grpc-accept-encoding": "identity,deflate,gzip"}),
        ({}, (("grpc-timeout", "soon"),), {"grpc-status": "13", "grpc-message": "malformed grpc-timeout"}),
        ({}, (("x-large", "x" * 20_000),), {"grpc-status": "8"}),
        ({"content_type": "application/json"}, (), {":status": "415"}),
        ({"method": "GET"}, (), {":status": "405", "allow": "POST"}),
    ],
)
@pytest.mark.parametrize("body", [True, False])
async def test_a_call_that_its_head_refuses_is_answered_at_once_and_costs_nothing(
    behaviour: Behaviour,
    begin: dict[str, Any],
    fields: tuple[tuple[str, str], ...],
    expected: dict[str, str],
    body: bool,
) -> None:
    wire = Wire(behaviour)
    stream = wire.headers(**{"path": "Echo", "fields": fields, "end": not body, **begin})
    if body:
        wire.send(stream, prefixed(b"hello"))
    wire.exchange()
    answer = wire.answers[stream]
    assert expected.items() <= answer.headers.items()
    assert answer.ended
    assert answer.reset == (ErrorCode.NO_ERROR if body else None)
    assert not wire.peer.streams
    assert wire.call("Echo", b"next").messages == [b"next"]


async def test_what_was_on_its_way_to_a_refused_call_is_no_fault(behaviour: Behaviour) -> None:
    wire = Wire(behaviour)
    stream = wire.headers("Nothing")
    for _ in range(3):
        wire.send(stream, b"x" * 10_000)
    wire.client.end_stream(stream)
    wire.exchange()
    assert wire.answers[stream].status == UNIMPLEMENTED
    assert wire.terminated is None


async def test_a_malformed_request_is_reset(behaviour: Behaviour) -> None:
    wire = Wire(behaviour)
    wire.client.config.validate_outbound_headers = False
    wire.client.config.normalize_outbound_headers = False
    stream = wire.headers("Echo", [("connection", "close")])
    wire.exchange()
    assert wire.answers[stream].reset == ErrorCode.PROTOCOL_ERROR
    assert wire.call("Echo", b"next").messages == [b"next"]


async def test_more_streams_than_allowed_are_refused_and_may_be_tried_elsewhere(behaviour: Behaviour) -> None:
    wire = Wire(behaviour, Limits(streams=2))
    assert wire.client.remote_settings.max_concurrent_streams == 2
    wire.call("Forever")
    wire.call("Forever")
    with pytest.raises(h2.exceptions.TooManyStreamsError):
        wire.headers("Echo")


async def test_an_answer_does_not_depend_on_the_way_it_was_written(
    behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fast way, which packs three frames at once, and the general one send the same bytes."""
    sent = []
    for sendable in (65_535, 3):
        wire = Wire(behaviour)
        stream = wire.headers("Echo")
        wire.send(stream, prefixed(b"hello"), end=True)
        if sendable == 3:
            monkeypatch.setattr(Peer, "send_answer", _generally)
        wire.peer.corked = True
        wire.peer.receive(wire.client.data_to_send())
        sent.append(b"".join(wire.peer.take()))
    assert sent[0] == sent[1]


def _generally(self: Peer, call: Any, message: bytes) -> None:
    self.send_headers(call, module.answers.HEADERS)
    self.send_message(call, message)
    self.send_trailers(call, module.answers.TRAILERS)


async def test_small_answers_use_up_the_connections_window(behaviour: Behaviour) -> None:
    wire = Wire(behaviour, reads=False)
    for _ in range(6):
        wire.call("Echo", b"x" * 10_000)
    assert wire.peer.sendable == 65_535 - 6 * 10_005
    last = wire.call("Echo", b"x" * 10_000)
    assert not last.ended
    wire.client.increment_flow_control_window(100_000)
    wire.exchange()
    assert last.messages == [b"x" * 10_000]


async def test_cancelling_all_calls_leaves_the_answers_that_wait_to_be_read(behaviour: Behaviour) -> None:
    wire = Wire(behaviour, window=10, reads=False)
    unread = wire.call("Echo", b"x" * 100)
    running = wire.call("Forever")
    begun = wire.headers("Echo")
    conversation = wire.headers("EchoEach")
    wire.exchange()
    wire.peer.cancel_calls()
    wire.exchange()
    assert (running.status, running.message) == (UNAVAILABLE, "the server is shutting down")
    assert wire.answers[begun].status == wire.answers[conversation].status == UNAVAILABLE
    assert not unread.ended
    wire.client.increment_flow_control_window(1_000, 1)
    wire.exchange()
    assert (unread.messages, unread.status) == ([b"x" * 100], 0)
    await wire.turns_until(lambda: not wire.peer.lingering)


async def test_headers_that_are_too_long_fail_their_call_and_those_in_progress_may_end(behaviour: Behaviour) -> None:
    wire = Wire(behaviour)
    release = asyncio.Event()

    async def wait(raw: bytes, call: Any) -> bytes:
        await release.wait()
        return raw

    behaviour.unary("Wait", wait)
    running = wire.headers("Wait")
    wire.send(running, prefixed(b"running"), end=True)
    wire.exchange()
    long = wire.headers("Echo", [(f"x-{number}", "~" * 10_000) for number in range(10)])
    wire.exchange()
    assert wire.answers[long].status == EXHAUSTED
    assert wire.terminated is not None
    assert (wire.terminated.error_code, wire.terminated.last_stream_id) == (ErrorCode.NO_ERROR, long)
    release.set()
    await wire.turns_until(lambda: not wire.peer.streams)
    assert b"running" in b"".join(wire.peer.take())
