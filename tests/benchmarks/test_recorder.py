"""Recordings: which calls are in them, and what is made of those."""

from __future__ import annotations

import asyncio
import math
import os
from typing import Any

import numpy as np
import pytest

from benchmarks.child import Child
from benchmarks.processes import ServerFailedError
from benchmarks.recorder import Calls, Notes, Order, Recorder, Recording, record
from tests.benchmarks.test_lean_connection import serving
from turnout_server.load import CallError


def calls(*each: tuple[float, float, bool]) -> Calls:
    due, took, ok = zip(*each, strict=True)
    return Calls(np.array(due), np.array(took), np.array(ok))


def order_of(target: str, **changed: Any) -> Order:
    """Return an order that only a stop ends."""
    fields: dict[str, Any] = {"requests": (b"a",), "rate": 200.0, "seconds": 3600.0, "warmup_s": 0.0}
    return Order(target=target, pid=os.getpid(), **(fields | changed))


def recording(**changed: Any) -> Recording:
    none = np.array([]).tobytes()
    fields: dict[str, Any] = {"opened": 1.0, "closed": 3.0, "answered": 0, "due": none, "took": none, "ok": none}
    fields |= {"codes": {}, "unanswered": 0, "under_way": 0.1, "server_cpu_s": 0.0, "server_loop_cpu_s": 0.0}
    return Recording(**(fields | {"generator_cpu_s": 0.0, "lag": 0.0} | changed))


def test_calls_that_were_due_in_the_warm_up_count_only_as_answers() -> None:
    notes = Notes(10.0)
    notes.closes = 20.0
    notes.record("OK", b"", 9.0, 9.5)
    notes.record("OK", b"", 9.9, 12.0)
    notes.record("OK", b"", 11.0, 11.5)
    notes.record("OK", b"", 19.0, 21.0)
    notes.record("RESOURCE_EXHAUSTED", b"", 12.0, 12.5)
    assert notes.within == 2
    assert (notes.due, notes.took, notes.ok) == ([11.0, 19.0, 12.0], [0.5, 2.0, 0.5], [True, True, False])
    assert notes.codes == {"OK": 2, "RESOURCE_EXHAUSTED": 1}


def test_a_span_has_the_calls_that_were_under_way_at_some_moment_of_it() -> None:
    found = calls((0.0, 1.0, True), (0.0, 9.0, True), (2.5, 0.1, False), (4.0, 1.0, True)).between(2.0, 4.0)
    assert list(found.took) == [9.0, 0.1]
    assert list(found.accepted()) == [9.0]


@pytest.mark.parametrize(
    ("changed", "bound"),
    [
        ({}, False),
        ({"generator_cpu_s": 1.9}, True),
        ({"lag": 0.1}, True),
        ({"lag": 0.001}, False),
        ({"lag": math.nan}, True),
    ],
)
def test_a_generator_without_time_or_held_up_is_found_out(changed: dict[str, float], bound: bool) -> None:
    assert recording(**changed).generator_bound is bound


@pytest.mark.parametrize("rate", [None, 500.0])
async def test_loads_of_both_kinds_are_recorded_until_they_are_stopped(rate: float | None) -> None:
    async with serving() as (service, target):
        stop = asyncio.Event()
        order = order_of(target, requests=(b"a", b"no"), rate=rate, concurrency=2, connections=2)
        recorded = asyncio.ensure_future(record(order, stop))
        while service.calls < 20:
            await asyncio.sleep(0)
        stop.set()
        found = await recorded
    everything = found.calls()
    assert set(found.codes) == {"OK", "RESOURCE_EXHAUSTED"}
    assert len(everything.due) == sum(found.codes.values()) == service.calls
    assert np.count_nonzero(everything.ok) == found.codes["OK"]
    assert everything.due.min() >= found.opened
    assert found.unanswered == 0
    assert 0.0 < found.under_way <= everything.accepted().max()
    assert found.goodput * found.seconds == pytest.approx(found.answered)


async def test_nobody_can_be_recorded_who_is_not_there() -> None:
    with pytest.raises(CallError):
        await record(order_of("127.0.0.1:1"), asyncio.Event())


async def test_the_child_does_one_job_after_the_other_and_can_be_stopped() -> None:
    async with serving() as (service, target):
        with Recorder() as recorder:
            for number in (1, 2):
                recorder.order(order_of(target))
                while service.calls < number * 5:
                    await asyncio.sleep(0)
                recorder.stop()
                found = await asyncio.to_thread(recorder.found)
                assert found.codes["OK"] >= 4


def test_a_child_that_finds_nothing_is_an_error() -> None:
    with Child[Order, Recording]("benchmarks.machine", Recording) as child, pytest.raises(ServerFailedError):
        child.found()
