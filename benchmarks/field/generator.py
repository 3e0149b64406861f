"""Turnout's load generator in a process of its own: `python -m benchmarks.field.generator` is the child."""

from __future__ import annotations

import asyncio
import time

from benchmarks.child import Child, work_off
from benchmarks.field.measurement import Job, Measurement
from benchmarks.machine import busy_s
from benchmarks.processes import cpu_s
from turnout_server.load import Plan, run


class Generator(Child[Job, Measurement]):
    """The child process, one job after the other."""

    def __init__(self) -> None:
        """Make it, to be entered."""
        super().__init__("benchmarks.field.generator", Measurement)


async def measured(job: Job, stop: asyncio.Event) -> Measurement:
    """Do *job* in this process."""
    plan = Plan(
        target=job.target,
        requests=job.requests,
        method=f"/{job.method}",
        concurrency=job.concurrency,
        seconds=job.seconds,
        warmup_s=job.warmup_s,
    )
    started, before, own, busy = time.monotonic(), cpu_s(job.pid), time.process_time(), busy_s()
    result = await run(plan, stop=stop)
    used, own, busy = cpu_s(job.pid) - before, time.process_time() - own, busy_s() - busy
    if not result.latency.count:
        raise SystemExit(f"{job.target} answered nothing: {dict(result.codes)} {dict(result.messages)}")
    p50, p95, p99 = (result.latency.percentile(percent) for percent in (50.0, 95.0, 99.0))
    return Measurement(
        throughput=result.throughput,
        p50=p50,
        p95=p95,
        p99=p99,
        server_cpu=used / max(1, result.calls),
        generator_cpu=result.cpu_s / max(1, result.within),
        generator_bound=result.generator_bound,
        answers=result.answers,
        errors=result.failed,
        others_cpu=max(0.0, busy - used - own) / (time.monotonic() - started),
        codes=dict(result.codes),
    )


if __name__ == "__main__":
    work_off(Job, measured)
