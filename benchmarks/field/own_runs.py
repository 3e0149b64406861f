"""ONNX Runtime by itself: the same graphs and inputs, one run after the other in one thread, and no server around them.

`python -m benchmarks.field.own_runs` is the child: what its process costs a run is the least that a server can cost.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.child import Child, work_off
from benchmarks.field.measurement import Job, Measurement
from benchmarks.field.wire import decode
from benchmarks.machine import busy_s
from turnout_server.onnx.binding import open_session
from turnout_server.store.manifest import RuntimeOptions
from turnout_server.vocabulary.tensors import Array, Arrays

_RELATIVE, _ABSOLUTE = 1e-5, 1e-6


class OwnRuns(Child[Job, Measurement]):
    """The child process, one job after the other."""

    def __init__(self) -> None:
        """Make it, to be entered."""
        super().__init__("benchmarks.field.own_runs", Measurement)


class _Graph:
    """One session, and the inputs of every request for it."""

    def __init__(self, job: Job) -> None:
        decoded = [decode(body) for body in job.requests]
        self._session = open_session(Path(job.target) / f"{decoded[0][0]}.onnx", RuntimeOptions())
        self._outputs = [one.name for one in self._session.get_outputs()]
        self.inputs = [inputs for _, inputs in decoded]

    def run(self, inputs: Arrays) -> Sequence[Array]:
        return self._session.run(self._outputs, inputs)

    def check(self, expected: Sequence[bytes]) -> None:
        """Compare what comes of each request with what is *expected*: numbers of 32 bits, if anything is."""
        for inputs, wanted in zip(self.inputs, expected, strict=False):
            found = np.concatenate([output.ravel() for output in self.run(inputs)])
            if not np.allclose(found, np.frombuffer(wanted, found.dtype), rtol=_RELATIVE, atol=_ABSOLUTE):
                raise SystemExit("ONNX Runtime does not come to the same twice")


async def measured(job: Job, stop: asyncio.Event) -> Measurement:
    """Do *job* in this process, alone: it cannot be stopped."""
    graph = _Graph(job)
    graph.check(job.expected)
    _runs(graph, job.warmup_s)
    cpu, busy, started = time.process_time(), busy_s(), time.perf_counter()
    took = _runs(graph, job.seconds)
    seconds, cpu, busy = time.perf_counter() - started, time.process_time() - cpu, busy_s() - busy
    p50, p95, p99 = (float(one) for one in np.percentile(took, (50, 95, 99)))
    return Measurement(
        throughput=len(took) / seconds,
        p50=p50,
        p95=p95,
        p99=p99,
        server_cpu=cpu / len(took),
        generator_cpu=0.0,
        generator_bound=False,
        answers=len(took),
        errors=0,
        others_cpu=max(0.0, busy - cpu) / seconds,
        codes={"OK": len(took)},
    )


def _runs(graph: _Graph, seconds: float) -> list[float]:
    """Run for so long, at least once; return what each run took, in seconds."""
    took: list[float] = []
    now = time.perf_counter()
    end = now + seconds
    for inputs in itertools.cycle(graph.inputs):
        graph.run(inputs)
        before, now = now, time.perf_counter()
        took.append(now - before)
        if now >= end:
            break
    return took


if __name__ == "__main__":
    work_off(Job, measured)
