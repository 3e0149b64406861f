"""What Turnout is meant to reach, and whether it does. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from benchmarks.field.results import OURS, Cell, Contest, Sample, Spread, compared


class Target(NamedTuple):
    """What is meant to come of one contest."""

    contest: Contest
    least: float | None = None
    """It is to be this or more."""
    most: float | None = None
    """It is to be this or less."""
    at: int = 0
    """Calls at once; by default, however many."""

    def met(self, found: float) -> bool:
        """Whether *found* is within it."""
        return (self.least is None or found >= self.least) and (self.most is None or found <= self.most)


class Verdict(NamedTuple):
    """How a target was met in one cell."""

    target: Target
    cell: Cell
    found: Spread

    @property
    def met(self) -> bool:
        """Whether it was: by the median."""
        return self.target.met(self.found.median)


def _cpu(server: str, rival: str, scenario: str = "", beside: str = "", *, difference: bool = False) -> Contest:
    return Contest("server_cpu", server, rival, scenario, beside, difference)


TARGETS = (
    Target(_cpu(OURS, "floor", "mlp"), most=0.17, at=1),
    Target(_cpu(OURS, "floor", "mlp"), most=0.06, at=16),
    Target(_cpu(OURS, "floor", "mlp"), most=0.045, at=64),
    Target(_cpu(OURS, "onnxruntime", "wide"), most=1.25),
    Target(_cpu("journal", OURS), most=1.05),
    Target(_cpu("traced-1", OURS), most=1.05),
    Target(_cpu("traced", OURS, difference=True), most=30e-6),
    Target(_cpu(OURS, OURS, "rank-columns", beside="wide"), most=2.0),
    Target(_cpu(OURS, OURS, "rank-matrix", beside="wide"), most=2.0),
    Target(_cpu("two-shards", "one-shard"), most=1.15),
    Target(Contest("throughput", "two-shards", "one-shard", "dear"), least=1.5),
    Target(_cpu(OURS, "triton"), most=1.0),
    *(Target(Contest("p99", OURS, rival), most=1.0) for rival in ("floor", "triton", "mlserver", "kserve")),
    *(Target(Contest("throughput", OURS, rival), least=2.5) for rival in ("mlserver", "kserve")),
)


def verdicts(samples: Sequence[Sample], targets: Iterable[Target] = TARGETS) -> list[Verdict]:
    """Judge each of *targets* in each cell where its contest took place."""
    return [
        Verdict(target, cell, found)
        for target in targets
        for cell, found in compared(samples, target.contest).items()
        if target.at in (0, cell.concurrency)
    ]
