"""What the neighbour's callers noticed in each phase of a reload. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from benchmarks.recorder import Calls

SLOWER = 2.0
"""How many times as high as before the neighbour's p99 may be during a reload."""
PHASES = ("before", "publishing", "during", "after")
"""`publishing` is the work of whoever publishes: copying, hashing, and writing to disk. `during` is the server's: from
the moment when the version appears in the store until it serves and the old one is unloaded."""


class Times(NamedTuple):
    """When things happened in one round, in seconds of `time.perf_counter`."""

    opened: float
    """The neighbour is measured from here on."""
    staging: float
    """The new version is being copied into the store."""
    staged: float
    """It has been, and lies ready."""
    appeared: float
    """Now the server can see it."""
    available: float
    """It serves."""
    unloaded: float
    """The old one is gone."""
    settled: float
    """After a pause: what is measured from here on is `after`."""
    closed: float

    def phase(self, name: str) -> tuple[float, float]:
        """Return when a phase begins and ends."""
        return {
            "before": (self.opened, self.staging),
            "publishing": (self.staging, self.staged),
            "during": (self.appeared, self.unloaded),
            "after": (self.settled, self.closed),
        }[name]


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """The neighbour's calls that were under way in one phase; durations in seconds."""

    seconds: float
    calls: int
    failed: int
    p50: float
    p99: float
    max: float


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One reload."""

    phases: dict[str, Phase]
    load_s: float
    """From the version's appearance in the store until it serves; the server looks once a second."""
    unload_s: float
    """From then on until the old version is gone."""
    cpu_s: float
    """CPU seconds that the server used during the reload."""
    rss_before: int
    """Bytes resident, of the server and its children."""
    rss_peak: int
    rss_after: int
    generator_bound: bool


def phase_of(calls: Calls, begin: float, end: float) -> Phase:
    """Return what *calls* show of one phase."""
    inside = calls.between(begin, end)
    took = inside.accepted()
    p50, p99 = (float(one) for one in np.percentile(took, (50, 99))) if len(took) else (math.nan, math.nan)
    return Phase(
        seconds=end - begin,
        calls=len(inside.took),
        failed=len(inside.took) - len(took),
        p50=p50,
        p99=p99,
        max=float(took.max()) if len(took) else math.nan,
    )


def median(rounds: Sequence[Round], figure: Callable[[Round], float]) -> float:
    """Return the median of *figure* over the rounds."""
    return statistics.median(map(figure, rounds))


def slower(rounds: Sequence[Round]) -> list[float]:
    """Return each round's p99 during the reload over that before it."""
    return [one.phases["during"].p99 / one.phases["before"].p99 for one in rounds]
