"""Sends requests, and notes what became of each: `python -m benchmarks.recorder` is the child.

Latency counts from when a call was due, however late it could leave. Where the generator itself was late, that shows
in `Recording.lag`, so that it is not laid at the server's door.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from time import perf_counter
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.child import Child, work_off
from benchmarks.lean_connection import LeanConnection
from benchmarks.processes import cpu_s, loops_cpu_s
from turnout_server.load import Plan
from turnout_server.load.answerer import Sample
from turnout_server.load.loops import ClosedLoop, Loop, OpenLoop, at_random, evenly
from turnout_server.load.result import SATURATED
from turnout_server.load.tally import Tally

Arrivals = Literal["even", "random"]
_DRAIN_S = 10.0
_LAG_EVERY_S = 0.005
_LATE_S = 0.01


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Requests to send."""

    target: str
    """HOST:PORT."""
    pid: int
    """The server's process."""
    requests: tuple[bytes, ...]
    rate: float | None = None
    """Requests a second; None is a closed loop of *concurrency* callers."""
    concurrency: int = 1
    seconds: float
    """How long to send after the warm-up, unless it is stopped."""
    warmup_s: float = 0.5
    arrivals: Arrivals = "random"
    """At constant intervals, or as those of many independent callers."""
    connections: int = 1


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What became of them. Times are seconds of `time.perf_counter`, which is the same clock in every process."""

    opened: float
    """When the warm-up ended."""
    closed: float
    answered: int
    """OK answers that came from `opened` to `closed`, those to calls of the warm-up included. All else is about calls
    that were due in that time, however late they ended."""
    due: bytes
    """When each call was due: float64."""
    took: bytes
    """How long each took, from then on, in seconds: float64."""
    ok: bytes
    """Whether each was answered with OK: bool."""
    codes: dict[str, int]
    """Calls by gRPC status code."""
    unanswered: int
    """Calls that did not end, or were due and could not be sent."""
    under_way: float
    """How long calls answered with OK took from when they were sent, without what they waited in the generator for room
    on a connection: the 99th percentile in seconds; NaN where there were none."""
    server_cpu_s: float
    """CPU seconds that the server used from `opened` to `closed`."""
    server_loop_cpu_s: float
    """CPU seconds of its event loops, of those: Python's, and the engine's shards."""
    generator_cpu_s: float
    lag: float
    """How late the generator's event loop did what it was to do: the 99th percentile in seconds."""

    @property
    def generator_bound(self) -> bool:
        """Whether the generator had no time left, or its event loop was held up: then the figures are its own too."""
        return self.generator_cpu_s > SATURATED * self.seconds or not self.lag <= _LATE_S

    @property
    def goodput(self) -> float:
        """OK answers a second."""
        return self.answered / self.seconds

    @property
    def seconds(self) -> float:
        """How long was measured."""
        return self.closed - self.opened

    def calls(self) -> Calls:
        """Return every call."""
        return Calls(np.frombuffer(self.due), np.frombuffer(self.took), np.frombuffer(self.ok, np.bool_))


class Calls:
    """Calls, in the order in which they ended."""

    def __init__(self, due: NDArray[np.float64], took: NDArray[np.float64], ok: NDArray[np.bool_]) -> None:
        self.due = due
        self.took = took
        self.ok = ok

    def between(self, begin: float, end: float) -> Calls:
        """Return the calls that were under way at some moment from *begin* to *end*."""
        inside = (self.due < end) & (self.due + self.took >= begin)
        return Calls(self.due[inside], self.took[inside], self.ok[inside])

    def accepted(self) -> NDArray[np.float64]:
        """Return how long the calls took that were answered with OK, in seconds."""
        return self.took[self.ok]


class Recorder(Child[Order, Recording]):
    """The child process."""

    def __init__(self) -> None:
        """Make it, to be entered."""
        super().__init__("benchmarks.recorder", Recording)


class Notes(Tally):
    """Notes each call."""

    def __init__(self, opens: float) -> None:
        """Note what is due from *opens* on."""
        super().__init__(opens, Sample(""))
        self.due: list[float] = []
        self.took: list[float] = []
        self.ok: list[bool] = []

    def record(self, code: str, payload: bytes | None, started: float, ended: float) -> None:
        """See `Tally.record`."""
        ok = code == "OK"
        if ok and self.opens <= ended < self.closes:
            self.within += 1
        if started >= self.opens:
            self.due.append(started)
            self.took.append(ended - started)
            self.ok.append(ok)
            self.codes[code] += 1


async def record(order: Order, stop: asyncio.Event) -> Recording:
    """Do *order* in this process."""
    plan = Plan(target=order.target, requests=order.requests)
    connections = [LeanConnection(plan) for _ in range(order.connections)]
    for one in connections:
        await one.open()
    idle = asyncio.Event()
    start = perf_counter()
    notes = Notes(start + order.warmup_s)
    loop = _loop(order, connections, start, notes, idle)
    sending = asyncio.ensure_future(_send(loop))
    lags: list[float] = []
    watching = asyncio.ensure_future(_watch(lags))
    try:
        await asyncio.sleep(order.warmup_s)
        lags.clear()
        for one in connections:
            one.under_way.clear()
        before = _used(order.pid)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), order.seconds)
        closed = notes.closes = perf_counter()
        server, server_loop, own = (now - then for now, then in zip(_used(order.pid), before, strict=True))
        unsent = loop.stop(closed)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(idle.wait(), _DRAIN_S)
    finally:
        sending.cancel()
        watching.cancel()
        for one in connections:
            await one.close()
    return Recording(
        opened=notes.opens,
        closed=closed,
        answered=notes.within,
        due=np.array(notes.due).tobytes(),
        took=np.array(notes.took).tobytes(),
        ok=np.array(notes.ok, np.bool_).tobytes(),
        codes=dict(notes.codes),
        unanswered=unsent + loop.in_flight,
        under_way=_p99([took for one in connections for took in one.under_way]),
        server_cpu_s=server,
        server_loop_cpu_s=server_loop,
        generator_cpu_s=own,
        lag=_p99(lags),
    )


def _loop(order: Order, connections: Sequence[LeanConnection], start: float, notes: Notes, idle: asyncio.Event) -> Loop:
    if order.rate is None:
        return ClosedLoop(order.requests, connections, order.concurrency, notes, idle.set)
    due = (at_random if order.arrivals == "random" else evenly)(start, order.rate)
    return OpenLoop(order.requests, connections, due, notes, idle.set)


async def _send(loop: Loop) -> None:
    while (again := loop.tick(now := perf_counter())) < math.inf:
        await asyncio.sleep(again - now)


async def _watch(lags: list[float]) -> None:
    while True:
        due = perf_counter() + _LAG_EVERY_S
        await asyncio.sleep(_LAG_EVERY_S)
        lags.append(max(0.0, perf_counter() - due))


def _p99(values: Sequence[float]) -> float:
    return float(np.percentile(values, 99)) if values else math.nan


def _used(pid: int) -> tuple[float, float, float]:
    return cpu_s(pid), loops_cpu_s(pid), time.process_time()


if __name__ == "__main__":
    work_off(Order, record)
