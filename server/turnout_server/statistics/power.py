"""How many units an experiment needs, what it can find with those that it gets, and how long that takes.

Variances are of one unit's x: `Estimate.spread` of a past period, for means, ratios and metrics with a covariate alike;
p(1 - p) for a proportion. Units are of both arms together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy import special

from turnout_server.statistics import sequential

_MOST_PART = 1000.0
"""Changes that are larger, as a part of control's value, nobody plans for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How two arms will be compared.

    Raises:
        ValueError: share, alpha or power are not between 0 and 1, or power is less than no effect at all has.
    """

    share: float
    """Of the treatment among both arms' units."""
    alpha: float
    power: float
    """How probable it is that the effect is found, if it is there."""
    always_valid: bool = True
    """Whether people may look at any time: `sequential`, frozen for the units that are planned, instead of `welch`.

    That takes 1.9 times the units at alpha 5 % and power 80 %, at the most: a larger effect ends it earlier."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not all(0 < each < 1 for each in (self.share, self.alpha, self.power)):
            raise ValueError(f"{self}: share, alpha and power are between 0 and 1")
        if self.distance <= 0:
            raise ValueError(f"{self}: without any effect the power would be more")

    @property
    def distance(self) -> float:
        """How many standard errors an effect must be from 0, that the interval at the end leaves 0 out with `power`."""
        if self.always_valid:
            # What counts is units in proportion to the horizon, and they are the same.
            reach = sequential.reach(1.0, sequential.Horizon(1.0, self.alpha))
        else:
            reach = -float(special.ndtri(self.alpha / 2))
        return reach + float(special.ndtri(self.power))

    def spread(self, control: float, treatment: float) -> float:
        """Return the variance of the effect times the units of both arms.

        Args:
            control: variance of one unit's x.
            treatment: the same.
        """
        if self.always_valid:
            # As `sequential.cautious` will have it.
            control, treatment = (
                (control, max(control, treatment)) if self.share <= 0.5 else (max(control, treatment), treatment)
            )
        return control / (1 - self.share) + treatment / self.share


def units(plan: Plan, effect: float, control: float, treatment: float) -> int:
    """Return the units that it takes to find an absolute *effect* other than 0, given the variances in both arms.

    Source: J. M. Lachin, "Introduction to Sample Size Determination and Power Analysis for Clinical Trials", Controlled
    Clinical Trials 2, 1981, with the sequential reach for the normal quantile.
    """
    return math.ceil(_units(plan, effect, control, treatment))


def _units(plan: Plan, effect: float, control: float, treatment: float) -> float:
    return plan.spread(control, treatment) * (plan.distance / effect) ** 2


def detectable(plan: Plan, units: float, control: float, treatment: float) -> float:
    """Return the least absolute effect that *units* find: the inverse of `units`."""
    return plan.distance * math.sqrt(plan.spread(control, treatment) / units)


def units_for_proportion(plan: Plan, control: float, treatment: float) -> int:
    """Return the units that it takes to tell one proportion (0 to 1) from another."""
    return units(plan, treatment - control, control * (1 - control), treatment * (1 - treatment))


def detectable_proportion(plan: Plan, units: float, control: float) -> float:
    """Return the least proportion above *control* that *units* tell from it; 1 where none is found."""
    low, high = control, 1.0
    # The variance moves with the proportion, and less than the square of the distance does.
    while low < (middle := (low + high) / 2) < high:
        least = detectable(plan, units, control * (1 - control), middle * (1 - middle))
        low, high = (low, middle) if middle - control >= least else (middle, high)
    return high


Growth = Callable[[float], float]
"""Times what a treatment's variance is control's, if it changes the metric by a part of control's value."""


def of_numbers(part: float) -> float:
    """A `Growth`: a number that is 1.1 times as large varies 1.21 times as much."""
    return (1 + part) ** 2


def of_proportion(share: float) -> Growth:
    """Return the `Growth` of a proportion, up or down, whichever varies more."""

    def growth(part: float) -> float:
        changed = [each * (1 - each) for each in (share * (1 + part), share * (1 - part)) if 0 <= each <= 1]
        return max(changed, default=0.0) / (share * (1 - share))

    return growth


def units_for_change(plan: Plan, mean: float, control: float, part: float, growth: Growth) -> int:
    """Return the units that it takes to find that a treatment changes a metric by a *part* of control's value.

    Args:
        plan: how arms will be compared.
        mean: control's, other than 0.
        control: the variance of one unit's x there.
        part: 0.1 is 10 %.
        growth: how the variance grows with it.
    """
    return math.ceil(_for_change(plan, mean, control, part, growth))


def detectable_change(plan: Plan, units: float, mean: float, control: float, growth: Growth) -> float | None:
    """Return the least part by which *units* find a change: the inverse of `units_for_change`.

    None where they find none, since the variance grows as fast as the effect.
    """
    low, high = 0.0, _MOST_PART
    if _for_change(plan, mean, control, high, growth) > units:
        return None
    while low < (middle := (low + high) / 2) < high:
        is_enough = _for_change(plan, mean, control, middle, growth) <= units
        low, high = (low, middle) if is_enough else (middle, high)
    return high


def _for_change(plan: Plan, mean: float, control: float, part: float, growth: Growth) -> float:
    return _units(plan, part * abs(mean), control, control * growth(part))


def days(units: int, units_a_day: float, window_days: float) -> int:
    """Return how many whole days an experiment lasts until the outcome window of its last unit has closed."""
    return math.ceil(units / units_a_day + window_days)
