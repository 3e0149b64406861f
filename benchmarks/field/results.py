"""The arithmetic: medians over rounds, and ratios round by round. Pure."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from benchmarks.field.measurement import Measurement

T = TypeVar("T")
OURS = "turnout"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement and what it is of."""

    round: int
    """Counted from 0."""
    scenario: str
    concurrency: int
    server: str
    measured: Measurement


class Spread(NamedTuple):
    """A figure over all rounds."""

    median: float
    low: float
    high: float


class Cell(NamedTuple):
    """One place in the tables."""

    scenario: str
    concurrency: int


Figure = Callable[[Measurement], float]
FIGURES: Mapping[str, Figure] = {
    "throughput": lambda one: one.throughput,
    "p50": lambda one: one.p50,
    "p95": lambda one: one.p95,
    "p99": lambda one: one.p99,
    "server_cpu": lambda one: one.server_cpu,
    "generator_cpu": lambda one: one.generator_cpu,
}


def rotated(items: Sequence[T], by: int) -> list[T]:
    """Return *items* beginning with the one at *by*, so that each has its turn at being first."""
    start = by % len(items)
    return [*items[start:], *items[:start]]


def spread(values: Iterable[float]) -> Spread:
    """Return the median, the lowest and the highest of *values*, of which there is at least one."""
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


def cells(samples: Iterable[Sample]) -> list[Cell]:
    """Return the cells that were measured, in order of appearance."""
    return list(dict.fromkeys(Cell(sample.scenario, sample.concurrency) for sample in samples))


def summaries(samples: Sequence[Sample], figure: str) -> dict[Cell, dict[str, Spread]]:
    """Return *figure* over all rounds, by cell and server."""
    found: dict[Cell, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        found[Cell(sample.scenario, sample.concurrency)][sample.server].append(FIGURES[figure](sample.measured))
    return {cell: {server: spread(values) for server, values in by.items()} for cell, by in found.items()}


class Contest(NamedTuple):
    """One figure of two contenders, set side by side."""

    figure: str
    server: str
    rival: str
    scenario: str = ""
    """Of both; by default each in which both were measured."""
    beside: str = ""
    """The rival's, where it is another one."""
    difference: bool = False
    """Whether it is taken how much more the server's figure is, and not how many times as much."""


def compared(samples: Sequence[Sample], contest: Contest) -> dict[Cell, Spread]:
    """Return how the two contenders compare, by cell: within each round, and then the median.

    A round counts where both were measured, and the rival's figure is above 0.
    """
    figure = FIGURES[contest.figure]
    by_key = {(one.scenario, one.concurrency, one.round, one.server): figure(one.measured) for one in samples}
    found: dict[Cell, list[float]] = defaultdict(list)
    for (scenario, concurrency, number, server), ours in by_key.items():
        if server != contest.server or contest.scenario not in ("", scenario):
            continue
        theirs = by_key.get((contest.beside or scenario, concurrency, number, contest.rival))
        if theirs:
            found[Cell(scenario, concurrency)].append(ours - theirs if contest.difference else ours / theirs)
    return {cell: spread(values) for cell, values in found.items()}


def ratios(samples: Sequence[Sample], figure: str, rival: str) -> dict[Cell, Spread]:
    """Return Turnout's *figure* over *rival*'s, by cell."""
    return compared(samples, Contest(figure, OURS, rival))


def fastest(trials: Mapping[str, Sequence[float]]) -> str:
    """Return the setup with the highest geometric mean of its throughputs, each above 0 or it cannot win."""
    return max(trials, key=lambda name: geometric_mean(trials[name]))


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of *values*; 0 if one of them is, or there are none."""
    if not values or min(values) <= 0:
        return 0.0
    return math.exp(statistics.fmean(map(math.log, values)))
