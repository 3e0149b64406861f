"""A whole run, over connections that answer by themselves. Runs end by what was counted, not by the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from turnout_server.load import CallError, Plan, Progress, run
from turnout_server.load.connection import Done

PLAN = Plan(
    target="nowhere", method="/some.Service/Method", requests=(b"a", b"b"), concurrency=3, seconds=60.0, warmup_s=0.0
)


class Echo:
    """Answers on the loop's next round, and stops the run with its call number *last*."""

    def __init__(self, stop: asyncio.Event, last: int, code: Callable[[int], str] = lambda number: "OK") -> None:
        self.stop, self.last, self.code = stop, last, code
        self.calls = 0
        self.opened = self.closed = False

    async def open(self) -> None:
        self.opened = True

    def call(self, body: bytes, done: Done) -> None:
        self.calls += 1
        code, started = self.code(self.calls), time.perf_counter()
        if self.calls == self.last:
            self.stop.set()
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: done(code, body, started, time.perf_counter()))

    async def close(self) -> None:
        self.closed = True


async def test_every_call_is_counted_once() -> None:
    stop = asyncio.Event()
    echo = Echo(stop, 500, lambda number: "OK" if number % 5 else "INTERNAL")
    result = await run(PLAN, stop=stop, connect=lambda plan: echo)
    assert (echo.opened, echo.closed, result.stopped_early) == (True, True, True)
    assert result.calls == result.answers == echo.calls >= 500
    assert result.codes["INTERNAL"] == result.failed == echo.calls // 5
    assert result.latency.count == result.codes["OK"]
    assert (result.unanswered, result.messages.keys()) == (0, {"INTERNAL"})


async def test_an_open_loop_ends_with_all_of_its_calls_answered() -> None:
    stop = asyncio.Event()
    echo = Echo(stop, 20)
    plan = Plan(target="nowhere", requests=(b"",), rate=2000.0, seconds=60.0, warmup_s=0.0)
    result = await run(plan, stop=stop, connect=lambda plan: echo)
    assert result.calls == echo.calls >= 20
    assert (result.unanswered, result.failed) == (0, 0)


async def test_a_call_that_is_never_answered_is_counted_as_that() -> None:
    stop = asyncio.Event()
    echo = Echo(stop, 100)

    class Silent(Echo):
        def call(self, body: bytes, done: Done) -> None:
            """Say nothing."""

    silent = Silent(stop, 0)
    connections = iter([echo, silent])
    plan = Plan(
        target="nowhere", requests=(b"",), concurrency=2, connections=2, seconds=60.0, warmup_s=0.0, drain_s=0.0
    )
    result = await run(plan, stop=stop, connect=lambda plan: next(connections))
    assert (result.unanswered, result.answers) == (1, echo.calls)
    assert result.failed == 1


async def test_a_stop_in_the_warm_up_leaves_nothing_measured() -> None:
    stop = asyncio.Event()
    plan = Plan(target="nowhere", requests=(b"",), warmup_s=60.0)
    result = await run(plan, stop=stop, connect=lambda plan: Echo(stop, 50))
    assert (result.seconds, result.throughput, result.answers, result.cpu_share) == (0.0, 0.0, 0, 0.0)
    assert result.calls >= 50
    assert result.summary()["throughput"] == 0.0


async def test_progress_is_reported_along_the_way() -> None:
    stop = asyncio.Event()
    seen: list[Progress] = []

    def show(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == 3:
            stop.set()

    result = await run(PLAN, show, every_s=0.01, stop=stop, connect=lambda plan: Echo(stop, 0))
    assert len(seen) >= 3
    assert sum(one.recent.count for one in seen) == seen[-1].latency.count <= result.latency.count
    assert not seen[0].warming_up
    assert seen[0].failed == 0


async def test_what_fails_in_the_callers_own_code_ends_the_run() -> None:
    def show(progress: Progress) -> None:
        raise ZeroDivisionError

    stop = asyncio.Event()
    plan = Plan(target="nowhere", requests=(b"",), seconds=0.2, warmup_s=0.0)
    with pytest.raises(ZeroDivisionError):
        await run(plan, show, every_s=0.01, stop=stop, connect=lambda plan: Echo(stop, 0))


async def test_a_target_that_cannot_be_reached_is_an_error() -> None:
    plan = Plan(target="127.0.0.1:1", requests=(b"",), connections=2)
    with pytest.raises(CallError, match=r"cannot reach 127\.0\.0\.1:1") as raised:
        await run(plan)
    assert raised.value.code == "UNAVAILABLE"
