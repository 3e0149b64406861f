"""What is said of an effect: an interval, or nothing yet and why.

Fixed-horizon and sequential methods differ in how many standard errors an interval reaches to either side, and in what
a sequential one borrows (`sequential.cautious`): a treatment that makes every unit's number R times as large makes
their spread R times as large, too, and a small arm may not have met its rare large values yet. So a ratio R that is
farther from 1 than what is seen is left out only if R times the other arm's spread does not explain what is seen.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from turnout_server.statistics.effect import Effect, Side


class Interval(NamedTuple):
    """Every value that the data do not contradict, both ends included."""

    low: float
    high: float


class Silence(NamedTuple):
    """Nothing is said: any value may be true."""

    reason: str


_NO_SPREAD = Silence("no unit differs from another of its arm")


def absolute(effect: Effect, reach: float) -> Interval | Silence:
    """Return the interval of treatment less control, *reach* standard errors to either side.

    Where the smaller arm has borrowed, its end far from 0 is where the spread that it implies itself is out of reach.
    """
    if not effect.se:
        return _NO_SPREAD
    half = reach * effect.se
    control, treatment = effect.control, effect.treatment
    low, high = effect.value - half, effect.value + half
    # Whether there is an effect, and in which direction, is said without.
    if high >= 0:
        high = max(high, _farthest(control, treatment, reach))
    if low <= 0:
        low = min(low, -_farthest(treatment, control, reach))
    return Interval(low, high)


def _farthest(large: Side, small: Side, reach: float) -> float:
    """Return how far the *small* arm may be above the *large* one, by the spread that it would have then.

    That is the largest D with (D - difference)^2 <= reach^2 (variance of large + (1 + D / large)^2 what small
    borrowed): infinite where there is none, and -infinite where that says nothing.
    """
    if not small.borrowed or large.value <= reach * math.sqrt(large.variance):
        return -math.inf  # of what may be 0 nothing is a multiple
    slope = (reach * math.sqrt(small.borrowed) / large.value) ** 2
    if slope >= 1:
        return math.inf
    difference = small.value - large.value
    # (1 - slope) D^2 - 2 middle D + product = 0
    middle = difference + slope * large.value
    product = difference**2 - reach**2 * (large.variance + small.borrowed)
    square = middle**2 - (1 - slope) * product
    return (middle + math.sqrt(square)) / (1 - slope) if square >= 0 else -math.inf


def relative(effect: Effect, reach: float) -> Interval | Silence:
    """Return the interval of treatment over control, less 1: 0.1 is 10 % more.

    It holds every ratio R for which treatment - R control is within *reach* of its standard errors from 0. So it holds
    0 exactly when `absolute` does, which intervals by the delta method don't. What was borrowed counts as there.

    Returns:
        Silence where no unit differs from another, and unless control is more than *reach* of its standard errors
        above 0.

    Source: E. C. Fieller, "Some Problems in Interval Estimation", J. R. Statist. Soc. B 16, 1954.
    """
    if not effect.se:
        return _NO_SPREAD
    control, treatment = effect.control, effect.treatment
    square = control.value**2 - reach**2 * control.variance
    if control.value <= 0 or square <= 0:
        return Silence("control may be 0, so nothing is relative to it")
    product = control.value * treatment.value
    # product^2 - square * (treatment^2 - reach^2 * its variance), without what cancels. As control is more than `reach`
    # standard errors from 0 it is not negative.
    spread = control.value**2 * treatment.variance + treatment.value**2 * control.variance
    root = reach * math.sqrt(max(spread - reach**2 * control.variance * treatment.variance, 0.0))
    low, high = (product - root) / square, (product + root) / square
    if treatment.borrowed and high >= 1:  # R^2 times it, so that |treatment / R - control| <= half
        half = reach * math.sqrt(control.variance + treatment.borrowed)
        high = max(high, treatment.value / (control.value - half)) if control.value > half else math.inf
    if control.borrowed and low <= 1:  # R^-2 times it, so that |treatment - R control| <= half
        half = reach * math.sqrt(treatment.variance + control.borrowed)
        low = min(low, (treatment.value - half) / control.value)
    return Interval(low - 1, high - 1)
