"""Sample ratio mismatch: whether the arms got the units that their weights promise. If not, nothing else is believed.

`fixed` is right for one look, `sequential` at every look. Ask either of all epochs together and of each by
itself: leaks in opposite directions cancel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

MISMATCH = 0.001
"""A p-value below this is a mismatch."""

_CONCENTRATIONS = (100.0, 1_000.0, 10_000.0, 100_000.0)
"""How close to the weights the sequential test expects a mismatch: of equal arms, 5 points either way, to 0.16."""

_MOST_LOG = 709.0
"""Of what a double can hold."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """The units of each arm in one epoch, and the weights that they were assigned by.

    Raises:
        ValueError: the arms and weights are not as many, a count or weight is negative, or all weights are 0.
    """

    units: tuple[int, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        possible = len(self.units) == len(self.weights) and min((*self.units, *self.weights)) >= 0
        if not possible or not 0 < sum(self.weights) < math.inf:
            raise ValueError(f"units {self.units} by weights {self.weights}")

    @property
    def shares(self) -> tuple[float, ...]:
        """What of all units each arm should have, 0 to 1."""
        total = math.fsum(self.weights)
        return tuple(weight / total for weight in self.weights)

    @property
    def is_impossible(self) -> bool:
        """Whether an arm of weight 0 has units."""
        return any(units and not weight for units, weight in zip(self.units, self.weights, strict=True))


def fixed(epochs: Sequence[Assigned]) -> float:
    """Return the p-value of every epoch's units having been assigned by its weights, for one look.

    Of one epoch it is Pearson's chi-square test. Of several it is the same of their sums: the arms' surpluses over what
    was expected, weighed by the inverse of the covariance that the epochs' multinomials add up to.

    Args:
        epochs: with the same arms in the same order; one that has no part in an epoch has the weight 0 there.

    Source: K. Pearson, "On the criterion that a given system of deviations ...", Philosophical Magazine 50, 1900.
    """
    if any(epoch.is_impossible for epoch in epochs):
        return 0.0
    shares = np.array([epoch.shares for epoch in epochs])
    units = np.array([epoch.units for epoch in epochs], dtype=float)
    expected = units.sum(axis=1, keepdims=True) * shares
    taking_part = expected.sum(axis=0) > 0
    # The surpluses sum to 0, so that one arm follows from the others.
    surplus = (units - expected).sum(axis=0)[taking_part][:-1]
    covariance = (np.diag(expected.sum(axis=0)) - expected.T @ shares)[np.ix_(taking_part, taking_part)][:-1, :-1]
    if not surplus.size:
        return 1.0
    return float(special.chdtrc(surplus.size, surplus @ np.linalg.solve(covariance, surplus)))


def sequential(epochs: Sequence[Assigned]) -> float:
    """Return the always-valid p-value of every epoch's units having been assigned by its weights.

    It is 1 over the e-value, at most 1.
    """
    return math.exp(min(-_log_mean_e_value(epochs), 0.0))


def e_value(epochs: Sequence[Assigned]) -> float:
    """Return how much the units speak against every epoch's having been assigned by its weights.

    It is how much better a Dirichlet mixture around the weights foresaw the arms than the weights did. Epochs multiply.
    A narrow mixture takes long to see a gross mismatch, and a wide one a small one; the mean of several e-values is
    one. With the promised split it gets to 1,000 at any time with a probability of at most 1 in 1,000. What is more
    than a double holds is the largest one.

    Source: M. Lindon, A. Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022.
    """
    return math.exp(min(_log_mean_e_value(epochs), _MOST_LOG))


def _log_mean_e_value(epochs: Sequence[Assigned]) -> float:
    if any(epoch.is_impossible for epoch in epochs):
        return math.inf
    logs = [math.fsum(_log_e_value(epoch, near) for epoch in epochs) for near in _CONCENTRATIONS]
    return float(special.logsumexp(logs)) - math.log(len(logs))


def _log_e_value(epoch: Assigned, concentration: float) -> float:
    total = sum(epoch.units)
    parts = [
        float(special.gammaln(concentration * share + units) - special.gammaln(concentration * share))
        - units * math.log(share)
        for units, share in zip(epoch.units, epoch.shares, strict=True)
        if share
    ]
    return math.fsum(parts) - float(special.gammaln(concentration + total) - special.gammaln(concentration))
