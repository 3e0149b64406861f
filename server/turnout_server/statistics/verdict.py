"""What an experiment's evidence comes to. Nothing overrides it: who wants another verdict needs other evidence."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scipy import special

from turnout_server.statistics import srm
from turnout_server.statistics.interval import Interval, Silence

MOST_LOST = 0.01
"""Share of an arm's exposures that may be lost."""

_UNEQUAL = 0.001
"""A p-value below this says that the arms lost unequally."""


class Verdict(enum.Enum):
    """What an experiment comes to, for one treatment."""

    WIN = "WIN"
    """Better on the primary metric, and no guardrail is worse by more than its margin."""
    LOSS = "LOSS"
    """Worse on the primary metric, or a guardrail is worse by more than its margin."""
    NO_HARM = "NO_HARM"
    """Neither the primary metric nor a guardrail is worse by more than its margin; nothing says that the primary one is
    better."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """The data leave it open, as yet."""
    INVALID = "INVALID"
    """The data cannot be believed, whatever they say."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of one metric.

    Raises:
        ValueError: the margin is not positive. That a metric is not the least bit worse can never be shown.
    """

    metric: str
    interval: Interval | Silence
    """Of the effect, absolute or relative."""
    margin: float
    """How much worse is still no harm, in the interval's unit."""
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not self.margin > 0:
            raise ValueError(f"metric {self.metric!r}: a margin of {self.margin}; expected more than 0")

    @property
    def gain(self) -> Interval | Silence:
        """The interval of how much better the treatment is."""
        if isinstance(self.interval, Silence) or self.higher_is_better:
            return self.interval
        return Interval(-self.interval.high, -self.interval.low)


class Exposures(NamedTuple):
    """Exposures of one arm."""

    kept: int
    lost: int
    """Offered to the journal, and not in it."""


@dataclass(frozen=True, slots=True)
class Soundness:
    """Whether the data can be believed."""

    srm_p: float
    """The least p-value of `srm`, in total and by epoch."""
    exposures: tuple[Exposures, ...]
    """By arm."""
    is_mature: bool
    """Whether every unit that counts has had its whole outcome window, and there are units."""
    clumping: float = 1.0
    """How many exposures may be lost together, since they are one unit's; on average over exposures, at least 1."""


class Judgement(NamedTuple):
    """A verdict and why."""

    verdict: Verdict
    reasons: tuple[str, ...]


def judge(soundness: Soundness, primary: Reading, guardrails: Sequence[Reading]) -> Judgement:
    """Return what the evidence on one treatment comes to."""
    if faults := tuple(_faults(soundness)):
        return Judgement(Verdict.INVALID, faults)
    if not soundness.is_mature:
        return Judgement(Verdict.INCONCLUSIVE, ("outcome windows are still open",))
    if harmed := tuple(f"{each.metric} is worse by more than its margin" for each in guardrails if _is_harmed(each)):
        return Judgement(Verdict.LOSS, harmed)
    gain = primary.gain
    if isinstance(gain, Interval) and gain.high < 0:
        return Judgement(Verdict.LOSS, (f"{primary.metric} is worse",))
    open_yet = tuple(_doubts(guardrails))
    if open_yet:
        return Judgement(Verdict.INCONCLUSIVE, open_yet)
    if isinstance(gain, Interval) and gain.low > 0:
        return Judgement(Verdict.WIN, (f"{primary.metric} is better",))
    if doubts := tuple(_doubts([primary])):
        return Judgement(Verdict.INCONCLUSIVE, doubts)
    return Judgement(Verdict.NO_HARM, (f"{primary.metric} is not worse by more than its margin",))


def _is_harmed(reading: Reading) -> bool:
    gain = reading.gain
    return isinstance(gain, Interval) and gain.high < -reading.margin


def _doubts(readings: Sequence[Reading]) -> list[str]:
    """Say which metrics may be worse by more than their margin."""
    doubts = []
    for reading in readings:
        gain = reading.gain
        if isinstance(gain, Silence):
            doubts.append(f"{reading.metric}: {gain.reason}")
        elif not gain.low >= -reading.margin:
            doubts.append(f"{reading.metric} may be worse by more than its margin")
    return doubts


def _faults(soundness: Soundness) -> list[str]:
    faults = []
    if not soundness.srm_p >= srm.MISMATCH:
        faults.append(f"sample ratio mismatch: p = {soundness.srm_p:.2g}")
    return [*faults, *loss_faults(soundness.exposures, soundness.clumping)]


def loss_faults(exposures: Sequence[Exposures], clumping: float) -> list[str]:
    """Return why arms cannot be compared for what they lost; see `Soundness` for both."""
    faults = []
    if any(lost > MOST_LOST * (kept + lost) for kept, lost in exposures):
        faults.append(f"an arm lost more than {MOST_LOST:.0%} of its exposures")
    if (p_value := _equally_lost(exposures, clumping)) < _UNEQUAL:
        faults.append(f"the arms lost exposures unequally: p = {p_value:.2g}")
    return faults


def _equally_lost(exposures: Sequence[Exposures], clumping: float) -> float:
    """Return the p-value of all arms losing the same share.

    It is Pearson's chi-square test of homogeneity. Exposures of one unit may be lost together, as in a burst, so that
    one busy unit would look like a difference between arms: the statistic is divided by what that could add to it. It
    is the first-order correction of J. Rao and A. Scott, "The Analysis of Categorical Data from Complex Sample
    Surveys", Journal of the American Statistical Association 76, 1981.
    """
    arms = [(kept + lost, lost) for kept, lost in exposures if kept + lost]
    rate = sum(lost for _, lost in arms) / max(sum(total for total, _ in arms), 1)
    if len(arms) < 2 or not 0 < rate < 1:
        return 1.0
    statistic = sum((lost - total * rate) ** 2 / (total * rate * (1 - rate)) for total, lost in arms)
    return float(special.chdtrc(len(arms) - 1, statistic / max(clumping, 1.0)))
