"""What one arm's metric is in one epoch, and how sure that is.

Every kind of metric ends here as the same value, so that effects, intervals and verdicts know no kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from turnout_server.statistics.moments import Moments, PairMoments, merged_pairs


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric's value in one arm of one epoch, in the metric's own unit."""

    value: float
    variance: float
    """Of `value`, not of a unit's x."""
    counted: tuple[Moments, ...]
    """What must each have events enough before `value` is about normal: `effective_events`."""
    borrowed: float = 0.0
    """What `variance` would be, did units vary as the arm's that it is compared with do; 0 where that is not asked."""

    @property
    def units(self) -> int:
        """How many units it is of."""
        return self.counted[0].n

    @property
    def spread(self) -> float:
        """The variance of one unit's part in `value`."""
        return self.variance * self.units


def mean_of(moments: Moments) -> Estimate | None:
    """Return the mean per unit, or the proportion; None with fewer than two units, whose variance nobody knows.

    A proportion's variance is p(1 - p) / (n - 1): what the moments of zeros and ones say, as for any other mean.
    """
    if moments.n < 2:
        return None
    return Estimate(moments.mean, moments.variance / moments.n, (moments,))


def ratio_of(pair: PairMoments) -> Estimate | None:
    """Return the sum of the numerators over the sum of the denominators, with the unit as the cluster.

    By the delta method, R = N / D has variance (var N - 2 R cov(N, D) + R^2 var D) / (n mean(D)^2).

    Returns:
        None with fewer than two units, or where the denominators sum to 0.

    Source: A. Deng, U. Knoblich, J. Lu, "Applying the Delta Method in Metric Analytics", KDD 2018.
    """
    if pair.n < 2 or not pair.second.total:
        return None
    ratio = pair.first.total / pair.second.total
    spread = pair.first.variance - 2 * ratio * pair.covariance + ratio * ratio * pair.second.variance
    # Rounding may leave less than nothing where numerator and denominator are in proportion.
    variance = max(spread, 0.0) / (pair.n * pair.second.mean**2)
    return Estimate(ratio, variance, (pair.first, pair.second))


def adjusted(arms: Sequence[PairMoments]) -> tuple[Estimate | None, ...]:
    """Return the mean of each arm of one epoch, freed from what the covariate explains (CUPED).

    The covariate's coefficient is one for all arms: the covariance of metric and covariate over the covariate's
    variance, among the units of every arm together. Each mean becomes the one that the arm would have with the
    covariate's overall mean. A unit whose covariate is missing counts in the sums with a covariate of 0.

    Returns:
        In the order of *arms*; None for an arm of fewer than two units.

    Source: A. Deng, Y. Xu, R. Kohavi, T. Walker, "Improving the Sensitivity of Online Controlled Experiments by
    Utilizing Pre-Experiment Data", WSDM 2013.
    """
    everyone = merged_pairs(arms)
    varies = everyone.n > 1 and everyone.second.variance > 0
    theta = everyone.covariance / everyone.second.variance if varies else 0.0
    return tuple(_freed(arm, theta, everyone.second.mean) if arm.n > 1 else None for arm in arms)


def _freed(arm: PairMoments, theta: float, overall: float) -> Estimate:
    spread = arm.first.variance - 2 * theta * arm.covariance + theta * theta * arm.second.variance
    return Estimate(arm.first.mean - theta * (arm.second.mean - overall), max(spread, 0.0) / arm.n, (arm.first,))
