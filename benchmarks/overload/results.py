"""What was found at each load, and what is made of it. Pure."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from benchmarks.recorder import Recording

REFUSED = "RESOURCE_EXHAUSTED"
FULL, FIVEFOLD = 1.0, 5.0
"""Loads, in capacities."""
KEPT = 0.85
"""The share of the best goodput that is to be left at five times the capacity."""
SLOWER = 3.0
"""How many times the p99 at full load it may be there; the neighbour is held to the same."""
DROPPED = 0.95
"""The share of copies that is to be dropped there: they are the first to go."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long calls answered with OK took, in seconds; NaN where there were none."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float


class Refusals(msgspec.Struct, frozen=True, kw_only=True):
    """What a client with grpcio saw of refusals, meanwhile."""

    seen: int = 0
    with_retry_info: int = 0
    """Of those, RESOURCE_EXHAUSTED with a RetryInfo above 0."""


class Copies(msgspec.Struct, frozen=True, kw_only=True):
    """What became of mirrored requests' copies, by the server's own count."""

    sent: int = 0
    dropped: int = 0
    failed: int = 0

    @property
    def dropped_share(self) -> float:
        """Of all copies; NaN where there were none."""
        total = self.sent + self.dropped + self.failed
        return self.dropped / total if total else math.nan


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One load in one round."""

    round: int
    """Counted from 0."""
    series: str
    factor: float
    """The load, in capacities; 0 where only the neighbour is asked."""
    seconds: float
    offered: float
    """Calls a second that were due."""
    goodput: float
    """OK answers a second."""
    refused: float
    """Calls a second that were refused."""
    codes: dict[str, int]
    unanswered: int
    latency: Latency
    under_way: float
    """The p99 from when calls were sent, without what they waited in the generator for room on a connection."""
    neighbour: Latency | None
    server_cpu: float
    """Cores."""
    loop_cpu: float
    """Cores that the server's event loops used, of those: Python's, and the engine's shards."""
    generator_cpu: float
    """Cores."""
    generator_bound: bool
    """Whether the generator had no time left, or was held up."""
    refusals: Refusals = Refusals()
    copies: Copies = Copies()


def latency(recording: Recording) -> Latency:
    """Return how long the calls of *recording* took."""
    took = recording.calls().accepted()
    if not len(took):
        return Latency(count=0, p50=math.nan, p95=math.nan, p99=math.nan, max=math.nan)
    p50, p95, p99 = (float(found) for found in np.percentile(took, (50, 95, 99)))
    return Latency(count=len(took), p50=p50, p95=p95, p99=p99, max=float(took.max()))


def level(
    number: int,
    series: str,
    factor: float,
    recording: Recording | None,
    neighbour: Recording | None,
    refusals: Refusals,
    copies: Copies,
) -> Level:
    """Return what was found at one load; without a *recording*, only the neighbour was asked."""
    main = recording or neighbour
    assert main is not None
    codes = recording.codes if recording else {}
    unanswered = recording.unanswered if recording else 0
    return Level(
        round=number,
        series=series,
        factor=factor,
        seconds=main.seconds,
        offered=(sum(codes.values()) + unanswered) / main.seconds,
        goodput=recording.goodput if recording else 0.0,
        refused=codes.get(REFUSED, 0) / main.seconds,
        codes=codes,
        unanswered=unanswered,
        latency=latency(recording) if recording else Latency(count=0, p50=math.nan, p95=math.nan, p99=math.nan, max=0),
        under_way=recording.under_way if recording else math.nan,
        neighbour=latency(neighbour) if neighbour else None,
        server_cpu=main.server_cpu_s / main.seconds,
        loop_cpu=main.server_loop_cpu_s / main.seconds,
        generator_cpu=sum(one.generator_cpu_s for one in (recording, neighbour) if one) / main.seconds,
        generator_bound=any(one.generator_bound for one in (recording, neighbour) if one),
        refusals=refusals,
        copies=copies,
    )


# ---------------------------------------------------------------- over the rounds


Figure = Callable[[Level], float]
FIGURES: Mapping[str, Figure] = {
    "offered": lambda one: one.offered,
    "goodput": lambda one: one.goodput,
    "refused": lambda one: one.refused,
    "p50": lambda one: one.latency.p50,
    "p95": lambda one: one.latency.p95,
    "p99": lambda one: one.latency.p99,
    "under_way": lambda one: one.under_way,
    "neighbour p50": lambda one: one.neighbour.p50 if one.neighbour else math.nan,
    "neighbour p99": lambda one: one.neighbour.p99 if one.neighbour else math.nan,
    "server_cpu": lambda one: one.server_cpu,
    "loop_cpu": lambda one: one.loop_cpu,
    "generator_cpu": lambda one: one.generator_cpu,
}


def medians(levels: Iterable[Level], series: str) -> dict[float, dict[str, float]]:
    """Return the median of each figure over the rounds, by load, from the lightest to the heaviest."""
    by_factor: dict[float, list[Level]] = defaultdict(list)
    for one in levels:
        if one.series == series:
            by_factor[one.factor].append(one)
    return {
        factor: {name: statistics.median(map(figure, by_factor[factor])) for name, figure in FIGURES.items()}
        for factor in sorted(by_factor)
    }


class Costs(NamedTuple):
    """CPU seconds of the server's event loops for a call."""

    accepted: float
    refused: float
    """NaN where too little was refused to tell."""


def costs(levels: Sequence[Level], series: str) -> Costs | None:
    """Return what calls cost the event loops, which do all but dear runs; None where it cannot be told.

    What an accepted call costs is seen where nearly nothing is refused, and no copies are made. Where much is refused,
    what the accepted calls leave of the CPU went into that. The neighbour and what else there is are taken off first.
    """
    own = [one for one in levels if one.series == series and one.goodput]
    calm = [one for one in own if one.refused < 0.01 * one.offered]
    if not calm or any(one.copies.sent > 0.1 * one.goodput * one.seconds for one in own):
        return None
    idle = [one.loop_cpu for one in levels if not one.factor]
    rest = statistics.median(idle) if idle else 0.0
    accepted = statistics.median((one.loop_cpu - rest) / one.goodput for one in calm)
    busy = [
        (one.loop_cpu - rest - accepted * one.goodput) / one.refused for one in own if one.refused > 0.3 * one.offered
    ]
    return Costs(accepted, statistics.median(busy) if busy else math.nan)


# ---------------------------------------------------------------- the targets


class Verdict(NamedTuple):
    """A target, and what was found."""

    target: str
    found: str
    met: bool


def verdicts(levels: Sequence[Level], series: str) -> list[Verdict]:
    """Judge *series*, where it was measured at full load and at five times the capacity."""
    found = medians(levels, series)
    if FULL not in found or FIVEFOLD not in found:
        return []
    full, fivefold = found[FULL], found[FIVEFOLD]
    best = max(one["goodput"] for one in found.values())
    kept = fivefold["goodput"] / best if best else math.nan
    slower = fivefold["p99"] / full["p99"]
    own = [one for one in levels if one.series == series]
    seen = sum(one.refusals.seen for one in own)
    informed = sum(one.refusals.with_retry_info for one in own)
    others = sum(count for one in own for code, count in one.codes.items() if code not in ("OK", REFUSED))
    judged = [
        Verdict(f"goodput at 5x is at least {KEPT:.0%} of the best", f"{kept:.0%}", kept >= KEPT),
        Verdict(
            f"p99 of accepted calls at 5x is at most {SLOWER:g} times that at 1x", f"{slower:.2f}", slower <= SLOWER
        ),
    ]
    if seen or any(one.refused for one in own):  # a quick model's calls wait at the client, and nothing is refused
        target = "refusals are RESOURCE_EXHAUSTED with RetryInfo"
        judged.append(Verdict(target, f"{informed} of {seen}", 0 < seen == informed))
    judged.append(Verdict("calls end with OK or RESOURCE_EXHAUSTED", f"{others} did not", not others))
    if not math.isnan(fivefold["neighbour p99"]):
        beside = fivefold["neighbour p99"] / full["neighbour p99"]
        target = f"the neighbour's p99 at 5x is at most {SLOWER:g} times that at 1x"
        judged.append(Verdict(target, f"{beside:.2f}", beside <= SLOWER))
    return judged


def copies_verdict(levels: Sequence[Level]) -> Verdict | None:
    """Judge what became of copies at five times the capacity; None where there were none."""
    copies = [one.copies.dropped_share for one in levels if one.factor == FIVEFOLD]
    shares = [share for share in copies if not math.isnan(share)]
    if not shares:
        return None
    share = statistics.median(shares)
    return Verdict(f"at least {DROPPED:.0%} of copies are dropped at 5x", f"{share:.1%}", share >= DROPPED)
