"""What is said of an effect: an interval, or nothing yet and why.

Fixed-horizon and sequential methods differ in how many standard errors an interval reaches to either side, and in what
a sequential one borrows (`sequential.cautious`): a treatment that makes every unit's number R times as large makes
their spread R times as large, too, and a small arm may not have met its rare large values yet. So a ratio R is left out
only if R times the other arm's spread does not explain what is seen.
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
_NOTHING = Interval(math.inf, -math.inf)


def absolute(effect: Effect, reach: float) -> Interval | Silence:
    """Return the interval of treatment less control, *reach* standard errors to either side.

    Where the smaller arm has borrowed, it holds as well what is within reach by the spread that it implies itself.
    """
    if not effect.se:
        return _NO_SPREAD
    half = reach * effect.se
    control, treatment = effect.control, effect.treatment
    below = _above(treatment, control, reach)
    return _joined(
        Interval(effect.value - half, effect.value + half),
        0.0,
        above=_above(control, treatment, reach),
        below=Interval(-below.high, -below.low),
    )


def _above(large: Side, small: Side, reach: float) -> Interval:
    """Return how far the *small* arm may be above the *large* one, by the spread that it would have then.

    That is every D with (D - difference)^2 <= reach^2 (variance of large + (1 + D / large)^2 what small borrowed).
    """
    if not small.borrowed or large.value <= reach * math.sqrt(large.variance):
        return _NOTHING  # of what may be 0 nothing is a multiple
    slope = (reach * math.sqrt(small.borrowed) / large.value) ** 2
    difference = small.value - large.value
    # (1 - slope) D^2 - 2 middle D + product <= 0
    middle = difference + slope * large.value
    product = difference**2 - reach**2 * (large.variance + small.borrowed)
    square = middle**2 - (1 - slope) * product
    most = middle + math.sqrt(max(square, 0.0))
    if square < 0 or most <= 0:
        return _NOTHING if slope < 1 else Interval(-math.inf, math.inf)
    return Interval(product / most, most / (1 - slope) if slope < 1 else math.inf)


def _joined(found: Interval, none: float, *, above: Interval, below: Interval) -> Interval:
    """Return *found* with what else is allowed *above* no effect and *below* it, where *found* does not deny that side.

    So whether there is none is for *found* to say: what is joined ends there.
    """
    low, high = found
    if found.high >= none and above.high >= none:
        low, high = min(low, max(above.low, none)), max(high, above.high)
    if found.low <= none and below.low <= none:
        low, high = min(low, below.low), max(high, min(below.high, none))
    return Interval(low, high)


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
    above = below = _NOTHING
    if treatment.borrowed:  # R^2 times it, so that |treatment / R - control| <= half
        half = reach * math.sqrt(control.variance + treatment.borrowed)
        most = treatment.value / (control.value - half) if control.value > half else math.inf
        above = Interval(treatment.value / (control.value + half), most)
    if control.borrowed:  # R^-2 times it, so that |treatment - R control| <= half
        half = reach * math.sqrt(treatment.variance + control.borrowed)
        below = Interval((treatment.value - half) / control.value, (treatment.value + half) / control.value)
    found = Interval((product - root) / square, (product + root) / square)
    low, high = _joined(found, 1.0, above=above, below=below)
    return Interval(low - 1, high - 1)
