"""The threads in which runs take place."""

from __future__ import annotations

import asyncio
import os

import pytest

from turnout_server.execution.workers import FEWEST_THREADS, most_runs, usable_cores, working


def test_a_containers_cpu_set_counts_and_not_the_machines_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 7}, raising=False)
    assert usable_cores() == 3
    assert (most_runs(0), most_runs(1)) == (4, 1)


async def test_the_threads_end_with_the_context() -> None:
    with working(runs=1, alone=lambda: False) as workers:
        assert workers.loop is asyncio.get_running_loop()
        assert not workers.alone()
        futures = [workers.executor.submit(int) for _ in range(FEWEST_THREADS)]
        assert [future.result(timeout=20.0) for future in futures] == [0] * FEWEST_THREADS
    with pytest.raises(RuntimeError):
        workers.executor.submit(int)
