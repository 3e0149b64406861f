"""Sufficient statistics: all that is known of a metric in one arm of one epoch.

SQL makes them, one row per (epoch, arm, metric), and everything else in this package is arithmetic over them. A unit
without outcomes is a zero and counts in `n`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_ROUNDING = 1e-9
"""Relative error that sums made elsewhere may carry; a larger contradiction is a mistake, not rounding."""


@dataclass(frozen=True, slots=True)
class Moments:
    """One number per unit, summed.

    Raises:
        ValueError: no units have such sums; the message begins with `place`.
    """

    n: int
    """Units."""
    total: float
    """The sum of x."""
    squares: float
    """The sum of x squared."""
    place: str = field(default="", compare=False, kw_only=True)
    """Where it is from, for messages: the epoch, arm and metric."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.n < 0:
            raise _impossible(self.place, f"{self.n} units")
        if not (math.isfinite(self.total) and math.isfinite(self.squares)):
            raise _impossible(self.place, f"sum {self.total}, sum of squares {self.squares}: not finite")
        if self.squares * self.n * (1 + _ROUNDING) < self.total * self.total or self.squares < 0:
            # By the Cauchy-Schwarz inequality, and for no units both are 0.
            raise _impossible(
                self.place, f"sum of squares {self.squares} is too small for sum {self.total} over {self.n} units"
            )
        if not self.n and self.squares:
            raise _impossible(self.place, f"sum of squares {self.squares} of no units")

    @property
    def mean(self) -> float:
        """The mean of x. At least one unit is needed."""
        return self.total / self.n

    @property
    def variance(self) -> float:
        """The variance of x, with n - 1. At least two units are needed."""
        return max(self.squares - self.total * self.mean, 0.0) / (self.n - 1)

    @property
    def is_binary(self) -> bool:
        """Whether every x seems to be 0 or 1: whole numbers have equal sums of x and x squared only then."""
        return self.total == self.squares and self.total <= self.n


@dataclass(frozen=True, slots=True)
class PairMoments:
    """Two numbers per unit, summed: a ratio's numerator and denominator, or a metric and its covariate.

    Raises:
        ValueError: no units have such sums; the message begins with the place of `first`.
    """

    first: Moments
    """Of the numerator, or the metric."""
    second: Moments
    """Of the denominator, or the covariate."""
    products: float
    """The sum of first times second."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        first, second, place = self.first, self.second, self.first.place
        if first.n != second.n:
            raise _impossible(place, f"{first.n} and {second.n} units in one pair")
        if not math.isfinite(self.products):
            raise _impossible(place, f"sum of products {self.products}: not finite")
        if abs(self.products) > math.sqrt(first.squares) * math.sqrt(second.squares) * (1 + _ROUNDING):
            raise _impossible(place, f"sum of products {self.products} is too large for the sums of squares")

    @property
    def n(self) -> int:
        """Units."""
        return self.first.n

    @property
    def covariance(self) -> float:
        """The covariance, with n - 1. At least two units are needed."""
        return (self.products - self.first.total * self.second.mean) / (self.n - 1)


def merged(moments: Iterable[Moments]) -> Moments:
    """Return the moments of all units together, the same in whichever order they are given.

    The result is the exact sum of what is given, rounded once.
    """
    parts = tuple(moments)
    return Moments(
        sum(part.n for part in parts),
        math.fsum(part.total for part in parts),
        math.fsum(part.squares for part in parts),
    )


def merged_pairs(pairs: Iterable[PairMoments]) -> PairMoments:
    """Return `merged` for pairs."""
    parts = tuple(pairs)
    return PairMoments(
        merged(part.first for part in parts),
        merged(part.second for part in parts),
        math.fsum(part.products for part in parts),
    )


def effective_events(moments: Sequence[Moments], weights: Sequence[float] | None = None) -> float:
    """Return (sum of x)^2 / (sum of x^2): the number of equal events that would vary as much as these do.

    Of a proportion that is its number of ones or of zeros, whichever is smaller: what is rare decides how far the mean
    is from being normal, and when 999 of 1,000 units succeed, it is the failures.

    Args:
        moments: of one arm, one per epoch.
        weights: what each unit of that epoch counts for in the estimate; equal, if left out.

    Returns:
        0 where there are no events. Source: L. Kish, "Survey Sampling", 1965 (the effective sample size).
    """
    each = [1.0] * len(moments) if weights is None else weights
    ones = _effective(moments, each)
    if not all(part.is_binary for part in moments):
        return ones
    zeros = [Moments(part.n, part.n - part.total, part.n - part.total) for part in moments]
    return min(ones, _effective(zeros, each))


def _effective(moments: Sequence[Moments], weights: Sequence[float]) -> float:
    total = math.fsum(weight * part.total for weight, part in zip(weights, moments, strict=True))
    squares = math.fsum(weight * weight * part.squares for weight, part in zip(weights, moments, strict=True))
    return total * total / squares if squares else 0.0


def _impossible(place: str, what: str) -> ValueError:
    return ValueError(f"{place or 'moments'}: {what}")
