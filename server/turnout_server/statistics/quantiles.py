"""Quantiles by order statistics: which ranks SQL must fetch, and what their values say. For one look, at the end.

No distribution is assumed, but that units are independent: of a metric with several values per unit, take one per unit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy import special

from turnout_server.statistics.interval import Interval


class Ranks(NamedTuple):
    """Places in ascending order, the smallest value's being 1."""

    low: int
    """0 where the sample is too small for a lower end."""
    point: int
    high: int
    """n + 1 where the sample is too small for an upper end."""


class Quantile(NamedTuple):
    """The values at `Ranks`: infinite where there is none."""

    low: float
    value: float
    high: float


def ranks(n: int, quantile: float, alpha: float) -> Ranks:
    """Return the ranks of a quantile and of its interval, which covers the truth with at least 1 - *alpha*.

    How many of n units are below the true quantile is binomial, so that the value of rank k is above it with
    probability P(fewer than k). Each end is the innermost that errs with at most alpha / 2.

    Args:
        n: units, at least 1.
        quantile: strictly between 0 and 1.
        alpha: how probable it may be that the interval misses the truth.

    Source: W. J. Conover, "Practical Nonparametric Statistics", 3rd edition, 1999, section 3.2.
    """
    return Ranks(
        # The first that errs with more as a count of units below is the last that errs with no more as a rank.
        low=_first(n, quantile, math.nextafter(alpha / 2, 1.0)),
        # 0.07 of 100 are 7, and a little more as floating-point numbers.
        point=max(math.ceil(n * quantile * (1 - 1e-12)), 1),
        high=_first(n, quantile, 1 - alpha / 2) + 1,
    )


def difference(control: Quantile, treatment: Quantile) -> Interval:
    """Return the interval of a quantile's difference, treatment less control, from each arm's own interval.

    Both arms' intervals must be for the alpha that is wanted of this one.

    Source: G. Y. Zou, A. Donner, "Construction of confidence limits about effect measures: a general approach",
    Statistics in Medicine 27, 2008.
    """
    value = treatment.value - control.value
    return Interval(
        value - math.hypot(treatment.value - treatment.low, control.high - control.value),
        value + math.hypot(treatment.high - treatment.value, control.value - control.low),
    )


def _first(n: int, quantile: float, probability: float) -> int:
    """Return the smallest k for which P(at most k of n are below) is at least *probability*."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if float(special.bdtr(middle, n, quantile)) >= probability:
            high = middle
        else:
            low = middle + 1
    return low
