"""How calls end: with a status, by their deadline, by a client that goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc
import pytest
from h2.errors import ErrorCodes as ErrorCode

from tests.transport.engine import (
    ABORTED,
    EXPIRED,
    INTERNAL,
    STREAMS,
    UNARY,
    UNAVAILABLE,
    Engine,
)
from tests.transport.fakes import echo, failing, forever
from tests.transport.serving import soon
from tests.transport.socket_wire import SocketWire, prefixed
from turnout_server.transport import engine as module
from turnout_server.transport.call import Call


@UNARY
async def test_a_failure_is_a_status_with_its_trailers(engine: Engine, quick: bool) -> None:
    async def act(raw: bytes, call: Call) -> bytes:
        raise failing(grpc.StatusCode.ABORTED, "50% wrong", (("x-why", "because"), ("x-data-bin", b"\0\1\2\3")))

    wire, _ = await engine.unary(act, quick)
    answer = await wire.call("Do")
    assert (answer.status, answer.message, answer.body) == (ABORTED, "50%25 wrong", b"")
    assert (answer.headers["x-why"], answer.headers["x-data-bin"]) == ("because", "AAECAw")


@UNARY
@pytest.mark.parametrize("late", [False, True])
async def test_what_nobody_expected_is_internal_and_says_nothing(engine: Engine, quick: bool, late: bool) -> None:
    async def act(raw: bytes, call: Call) -> bytes:
        if late:
            await asyncio.sleep(0)
        raise ZeroDivisionError("secret")

    wire, _ = await engine.unary(act, quick)
    answer = await wire.call("Do")
    assert answer.status == INTERNAL
    assert "secret" not in str(answer.headers)


@UNARY
@pytest.mark.parametrize("late", [False, True])
async def test_a_handler_that_is_cancelled_from_within_ends_its_call_and_not_the_connection(
    engine: Engine, quick: bool, late: bool
) -> None:
    gone: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    if not late:
        gone.cancel()

    async def act(raw: bytes, call: Call) -> bytes:
        return await gone if raw else b"fine"

    wire, method = await engine.unary(act, quick)
    stream = wire.ask("Do", b"x")
    await soon(lambda: method.calls)
    gone.cancel()
    assert (await wire.ended(stream)).status == UNAVAILABLE
    assert (await wire.call("Do")).messages == [b"fine"]


async def test_a_bug_of_ours_ends_one_call_and_is_logged(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []

    class Log:
        def exception(self, event: str, **facts: str) -> None:
            logged.append(event)

    wire, _ = await engine.unary(echo)
    method = engine.behaviour.methods.pop("test.Fake/Do")
    monkeypatch.setattr(module, "_log", Log())
    assert (await wire.call("Do")).status == INTERNAL
    engine.behaviour.methods["test.Fake/Do"] = method
    assert (await wire.call("Do", b"next")).messages == [b"next"]
    assert logged == ["event failed"]


@UNARY
async def test_a_deadline_that_passes_is_answered_and_cancels_the_handler(engine: Engine, quick: bool) -> None:
    wire, method = await engine.unary(forever, quick)
    answer = await wire.call("Do", fields=[("grpc-timeout", "50m")])
    assert (answer.status, answer.message) == (EXPIRED, "Deadline Exceeded")
    await method.all_cancelled.wait()
    assert method.cancelled == 1


async def test_the_deadline_holds_for_a_request_that_never_comes_whole(engine: Engine) -> None:
    wire, method = await engine.unary(echo)
    stream = wire.headers("Do", [("grpc-timeout", "1n")])
    wire.send(stream, prefixed(b"hello")[:7])
    assert (await wire.ended(stream)).status == EXPIRED
    assert not method.calls


@pytest.mark.parametrize("read", [True, False])
async def test_a_deadline_ends_a_stream_whether_its_answers_are_read_or_not(engine: Engine, read: bool) -> None:
    async def endless(raw: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        yield b"x" * 100
        await asyncio.get_running_loop().create_future()

    wire, method = await engine.out(endless, window=10, reads=read)
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
async def test_streams_that_are_reset_count_as_long_as_their_handlers_run(engine: Engine, quick: bool) -> None:
    release = asyncio.Event()
    wire, method = await engine.unary(stubborn(release), quick)
    resets = 0
    for _ in range(2 * STREAMS + 20):
        stream = wire.ask("Do")
        begun = len(method.calls)
        await wire_or(wire, stream, lambda begun=begun: len(method.calls) > begun)
        if wire.answers[stream].reset is None:
            wire.client.reset_stream(stream)
            wire.flush()
        else:
            resets += wire.answers[stream].reset == ErrorCode.REFUSED_STREAM
    assert (len(method.calls), resets) == (2 * STREAMS, 20)
    release.set()
    await method.all_cancelled.wait()
    engine.behaviour.methods["test.Fake/Do"]._act = echo
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


async def test_an_answer_after_the_client_left_is_dropped(engine: Engine) -> None:
    release = asyncio.Event()
    wire, method = await engine.unary(stubborn(release))
    stream = wire.ask("Do")
    await method.begun.wait()
    wire.client.reset_stream(stream)
    wire.flush()
    release.set()
    await method.all_cancelled.wait()
    engine.behaviour.methods["test.Fake/Do"]._act = echo
    assert (await wire.call("Do", b"next")).messages == [b"next"]
    assert not wire.answers[stream].headers
