"""Drives a loop with the event loop's clock: the only part of the generator that waits."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable
from time import perf_counter

from turnout_server.load.answerer import Sample
from turnout_server.load.connection import Connect, Connection
from turnout_server.load.grpc_connection import GrpcConnection
from turnout_server.load.loops import ClosedLoop, Loop, OpenLoop, evenly
from turnout_server.load.plan import Plan
from turnout_server.load.result import Progress, Result
from turnout_server.load.tally import Tally

_LOOK_S = 0.2
"""How often the sample takes up how many answers there are, in seconds."""

OnProgress = Callable[[Progress], None]


async def run(
    plan: Plan,
    on_progress: OnProgress | None = None,
    *,
    every_s: float = 1.0,
    stop: asyncio.Event | None = None,
    connect: Connect = GrpcConnection,
) -> Result:
    """Do what *plan* says, and return what was found.

    Args:
        plan: what to send.
        on_progress: called along the way, on the event loop; what it takes is taken from the measurement.
        every_s: seconds from one call of *on_progress* to the next.
        stop: set it to end early.
        connect: makes the connections.

    Raises:
        CallError: the target cannot be reached.
    """
    async with _connected(plan, connect) as connections:
        stop = stop or asyncio.Event()
        idle = asyncio.Event()
        start = perf_counter()
        tally = Tally(start + plan.warmup_s, Sample(plan.method))
        loop = _loop(plan, connections, start, tally, idle)
        looking = asyncio.ensure_future(_look(tally, start, on_progress, every_s))
        sending = asyncio.ensure_future(_send(loop))
        try:
            await _until(tally.opens, stop)
            cpu_s = time.process_time()
            await _until(tally.opens + plan.seconds, stop)
            tally.closes = perf_counter()
            cpu_s = time.process_time() - cpu_s
            unsent = loop.stop(tally.closes)
        finally:
            await _cancelled(looking, sending)
        stopped_early = stop.is_set()
        await _drained(idle, stop, plan.drain_s)
        return _result(tally, unsent + loop.in_flight, cpu_s, stopped_early)


@contextlib.asynccontextmanager
async def _connected(plan: Plan, connect: Connect) -> AsyncIterator[list[Connection]]:
    async with contextlib.AsyncExitStack() as stack:
        connections = [connect(plan) for _ in range(plan.connections)]
        for one in connections:
            stack.push_async_callback(one.close)
        for one in connections:
            await one.open()
        yield connections


def _loop(plan: Plan, connections: list[Connection], start: float, tally: Tally, idle: asyncio.Event) -> Loop:
    if plan.rate is None:
        return ClosedLoop(plan.requests, connections, plan.concurrency, tally, idle.set)
    return OpenLoop(plan.requests, connections, evenly(start, plan.rate), tally, idle.set)


async def _send(loop: Loop) -> None:
    while (again := loop.tick(now := perf_counter())) < math.inf:
        await asyncio.sleep(again - now)


async def _look(tally: Tally, start: float, on_progress: OnProgress | None, every_s: float) -> None:
    """Keep the sample's size, and report."""
    looked, reported = start, start
    seen, told, latency = 0, 0, tally.latency.copy()
    while True:
        await asyncio.sleep(min(_LOOK_S, every_s))
        now = perf_counter()
        tally.sample.adapt((tally.answered - seen) / (now - looked))
        looked, seen = now, tally.answered
        if on_progress is None or now - reported < every_s:
            continue
        so_far = tally.latency.copy()
        on_progress(
            Progress(
                elapsed_s=now - start,
                warming_up=now < tally.opens,
                throughput=(tally.answered - told) / (now - reported),
                recent=so_far.since(latency),
                latency=so_far,
                codes=tally.codes.copy(),
                served=tally.sample.served.copy(),
            )
        )
        reported, told, latency = now, tally.answered, so_far


async def _until(when: float, stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, when - perf_counter())):
            await stop.wait()


async def _drained(idle: asyncio.Event, stop: asyncio.Event, seconds: float) -> None:
    """Wait for what is on its way; a stop that comes only now ends that too."""
    waits = [asyncio.ensure_future(event.wait()) for event in (idle, stop) if event is idle or not event.is_set()]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for one in waits:
        one.cancel()


async def _cancelled(*tasks: asyncio.Future[None]) -> None:
    """Stop *tasks*; one that failed by itself fails the run."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _result(tally: Tally, unanswered: int, cpu_s: float, stopped_early: bool) -> Result:
    return Result(
        seconds=max(0.0, tally.closes - tally.opens),
        within=tally.within,
        latency=tally.latency,
        codes=tally.codes,
        messages=tally.messages,
        unanswered=unanswered,
        served=tally.sample.served,
        latencies=tally.sample.latencies,
        calls=tally.calls,
        cpu_s=cpu_s,
        stopped_early=stopped_early,
    )
