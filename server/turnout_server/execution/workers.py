"""The threads in which the runners of one process run things."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from turnout_server.execution.batch_run import Ending
from turnout_server.pool import Pool
from turnout_server.scheduling.shares import Divides, Shares

THREADS_A_RUN = 4
FEWEST_THREADS = 16
"""Every version may have a run under way, as far as there are threads; the system divides the cores among them."""


@dataclass(slots=True, frozen=True)
class Workers:
    """Where the runners of one process run things."""

    loop: asyncio.AbstractEventLoop
    executor: Executor
    shares: Divides
    """Divides the executor's threads; its versions are runners."""
    alone: Callable[[], bool] = lambda: True
    """Whether the request that is being handled is the only one in the process: then nobody's company is waited for."""
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    """The runners' own."""
    endings: set[Ending] = field(default_factory=set)
    """What would end the runs that are under way in threads, of those that anything can end."""

    def end_runs(self) -> None:
        """End all runs in threads, soon: nobody waits for them any more."""
        for ending in tuple(self.endings):
            ending.end()


@contextmanager
def working(
    runs: int = 0, alone: Callable[[], bool] = lambda: True, shares: Divides | None = None
) -> Iterator[Workers]:
    """Start threads for the running event loop, and end them afterwards, but for those that are stuck.

    Args:
        runs: how many runs of one version may be under way at once, if it alone has work; 0 for `most_runs`.
        alone: see `Workers.alone`.
        shares: divides the threads; None for all of them to these runners.
    """
    limit = most_runs(runs)
    threads = most_threads(limit)
    with Pool(threads, "worker") as executor:
        yield Workers(asyncio.get_running_loop(), executor, shares or Shares(usable_cores(), limit, threads), alone)


def most_runs(configured: int) -> int:
    """Return how many runs of one version may be under way at once: as *configured*, or one more than there are cores.

    One more: from the end of a run until the next has been handed over, its core would have nothing to do.
    """
    return configured or usable_cores() + 1


def most_threads(runs: int) -> int:
    """Return how many runs of all versions may be under way at once, where one alone may have so many."""
    return max(runs * THREADS_A_RUN, FEWEST_THREADS)


def usable_cores() -> int:
    """Return how many cores this process may use: a container's CPU set may be smaller than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
