"""What is said of an effect: an interval, or nothing yet and why.

Fixed-horizon and sequential methods differ in one number, how many standard errors an interval reaches to either side.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from turnout_server.statistics.effect import Effect


class Interval(NamedTuple):
    """Every value that the data do not contradict, both ends included."""

    low: float
    high: float


class Silence(NamedTuple):
    """Nothing is said: any value may be true."""

    reason: str


_NO_SPREAD = Silence("no unit differs from another of its arm")


def absolute(effect: Effect, reach: float) -> Interval | Silence:
    """Return the interval of treatment less control, *reach* standard errors to either side."""
    if not effect.se:
        return _NO_SPREAD
    half = reach * effect.se
    return Interval(effect.value - half, effect.value + half)


def relative(effect: Effect, reach: float) -> Interval | Silence:
    """Return the interval of treatment over control, less 1: 0.1 is 10 % more.

    It holds every ratio R for which treatment - R control is within *reach* of its standard errors from 0. So it holds
    0 exactly when `absolute` does, which intervals by the delta method don't.

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
    return Interval((product - root) / square - 1, (product + root) / square - 1)
