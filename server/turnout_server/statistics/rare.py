"""Counts of rare events, errors above all, in two arms: exact at every look, from the first event on.

Given that a unit has an event, and that both arms have the same rate of them, the unit is of the treatment with the
probability with which it was assigned to it. So the events are draws with a known share, whatever their rate is, and
nothing needs to be normal. An event here is a *unit* with at least one error: one unit's requests fail together.

Against the share p, x of m events in the treatment have the e-value B(a + x, b + m - x) / B(a, b) / (p^x (1-p)^(m-x)):
how much better a mixture of shares, Beta(a, b), foresaw them. By Ville's inequality it ever exceeds 1 / alpha with
probability at most alpha. Epochs multiply.

Sources: H. Robbins, "Statistical Methods Related to the Law of the Iterated Logarithm", Ann. Math. Statist. 41, 1970
(the mixture); J. Przyborowski, H. Wilenski, "Homogeneity of Results in Testing Samples from Poisson Series", Biometrika
31, 1940 (conditioning on the total); M. Lindon, C. Sanden, V. Shirikian, "Rapid Regression Detection in Software
Deployments through Sequential Testing", KDD 2022 (both, for errors of a canary).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy import special

from turnout_server.statistics.interval import Interval

_FARTHEST = 64.0
"""Logarithm of a ratio of rates beyond which nobody looks."""


@dataclass(frozen=True, slots=True)
class Events:
    """Units with an event in two arms of one epoch.

    Raises:
        ValueError: a count is negative, or the share not between 0 and 1.
    """

    control: int
    treatment: int
    share: float
    """Of the treatment among both arms' units, as the epoch's weights say: exact only if nobody chose it later."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.control < 0 or self.treatment < 0 or not 0 < self.share < 1:
            raise ValueError(f"{self.control} and {self.treatment} events with a share of {self.share}")


def log_e_value(epochs: Sequence[Events], log_ratio: float = 0.0) -> float:
    """Return the natural logarithm of the e-value against a ratio of rates, treatment over control; 0 with no events.

    Args:
        epochs: what was seen.
        log_ratio: the logarithm of the ratio that is doubted; 0 for equal rates.
    """
    return math.fsum(_log_e_value(epoch, log_ratio) for epoch in epochs)


def p_value(epochs: Sequence[Events]) -> float:
    """Return the always-valid p-value of equal rates: 1 over the e-value, at most 1."""
    return math.exp(min(-log_e_value(epochs), 0.0))


def interval(epochs: Sequence[Events], alpha: float) -> Interval:
    """Return the ratios of rates, treatment over control, whose e-values are below 1 / *alpha*; from 0 to infinity.

    An end that no events bound is 0 or infinite. The logarithm of the e-value is convex in that of the ratio, so there
    are two ends, one to either side of the ratio with the least.
    """
    limit = -math.log(alpha)

    def excess(log_ratio: float) -> float:
        return log_e_value(epochs, log_ratio) - limit

    least = _crossing(lambda at: _slope(epochs, at), -_FARTHEST, _FARTHEST)
    low = math.exp(_crossing(excess, least, -_FARTHEST)) if excess(-_FARTHEST) > 0 else 0.0
    high = math.exp(_crossing(excess, least, _FARTHEST)) if excess(_FARTHEST) > 0 else math.inf
    return Interval(low, high)


def _log_e_value(epoch: Events, log_ratio: float) -> float:
    a, b = _prior(epoch.share)
    mixture = float(special.betaln(a + epoch.treatment, b + epoch.control) - special.betaln(a, b))
    odds = _log_odds(epoch.share) + log_ratio
    return mixture + epoch.treatment * _softplus(-odds) + epoch.control * _softplus(odds)


def _slope(epochs: Sequence[Events], log_ratio: float) -> float:
    """Return the derivative of `log_e_value` by the logarithm of the ratio."""
    return math.fsum(
        (epoch.control + epoch.treatment) * float(special.expit(_log_odds(epoch.share) + log_ratio)) - epoch.treatment
        for epoch in epochs
    )


def _prior(share: float) -> tuple[float, float]:
    """Return a and b: the share as mean, with one event's worth in the smaller arm. Of equal arms it is uniform."""
    worth = 1 / min(share, 1 - share)
    return share * worth, (1 - share) * worth


def _log_odds(share: float) -> float:
    return math.log(share) - math.log1p(-share)


def _softplus(x: float) -> float:
    """Return ln(1 + e^x)."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _crossing(function: Callable[[float], float], below: float, above: float) -> float:
    """Return where a function that is negative at *below* and positive at *above* has its zero, by halving."""
    while True:
        middle = (below + above) / 2
        if middle in (below, above):
            return middle
        if function(middle) > 0:
            above = middle
        else:
            below = middle
