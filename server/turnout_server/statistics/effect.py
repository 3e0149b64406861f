"""How far a treatment is from control, over every epoch.

Within an epoch, arms are compared as they were randomised; epochs are then combined by their units. Units of different
epochs are never pooled: when weights move, the mix of days differs between the arms, and pooling makes an effect out of
that (Simpson's paradox).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from turnout_server.statistics.estimate import Estimate
from turnout_server.statistics.moments import effective_events


class Contrast(NamedTuple):
    """Two arms in one epoch. An arm that took no part, or with too few units to say anything, is None."""

    epoch: str
    control: Estimate | None
    treatment: Estimate | None


@dataclass(frozen=True, slots=True)
class Side:
    """One arm, over all epochs in which both arms took part."""

    value: float
    variance: float
    """Of `value`."""
    doubt: float
    """Of `variance`: the sum over epochs of its part squared, over n - 1."""
    events: float
    """Effective events."""
    borrowed: float = 0.0
    """What `variance` would be, did units vary as the other arm's do; 0 where that is not asked."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A treatment against control, in the metric's own unit."""

    control: Side
    treatment: Side
    units: int
    """Of both arms, in the epochs that count."""
    left_out: tuple[str, ...]
    """Epochs in which only one of the arms was to be had: nothing in them compares."""

    @property
    def value(self) -> float:
        """Treatment less control."""
        return self.treatment.value - self.control.value

    @property
    def se(self) -> float:
        """The standard error of `value`."""
        return math.sqrt(self.control.variance + self.treatment.variance)

    @property
    def df(self) -> float:
        """Degrees of freedom of the standard error; infinite where it is 0.

        Source: F. E. Satterthwaite, "An Approximate Distribution of Estimates of Variance Components", Biometrics 2,
        1946, over arms and epochs. With one epoch they are Welch's.
        """
        doubt = self.control.doubt + self.treatment.doubt
        return (self.control.variance + self.treatment.variance) ** 2 / doubt if doubt else math.inf

    @property
    def events(self) -> float:
        """Effective events of the arm that has fewer."""
        return min(self.control.events, self.treatment.events)


def effect(contrasts: Iterable[Contrast]) -> Effect | None:
    """Return the effect over all epochs; None where there is no epoch in which both arms took part.

    Each arm's value is the mean of its values by epoch, with the units of both arms as weights, the same for both arms:
    so an epoch's own level never counts for one arm more than for the other.
    """
    together: list[tuple[Estimate, Estimate]] = []
    left_out: list[str] = []
    for epoch, control, treatment in contrasts:
        if control is not None and treatment is not None:
            together.append((control, treatment))
        elif control is not None or treatment is not None:
            left_out.append(epoch)
    if not together:
        return None
    units = [control.units + treatment.units for control, treatment in together]
    return Effect(
        _side([control for control, _ in together], units),
        _side([treatment for _, treatment in together], units),
        sum(units),
        tuple(left_out),
    )


def _side(estimates: Sequence[Estimate], units: Sequence[int]) -> Side:
    """Return one arm over all epochs, each of which weighs as its *units* do."""
    everyone = sum(units)
    weighed = [(each / everyone, estimate) for each, estimate in zip(units, estimates, strict=True)]
    variances = [(weight**2 * each.variance, each.units) for weight, each in weighed]
    a_unit_s = [weight / each.units for weight, each in weighed]
    return Side(
        value=math.fsum(weight * each.value for weight, each in weighed),
        variance=math.fsum(variance for variance, _ in variances),
        doubt=math.fsum(variance**2 / (n - 1) for variance, n in variances),
        events=min(
            effective_events(by_epoch, a_unit_s) for by_epoch in zip(*(each.counted for each in estimates), strict=True)
        ),
        borrowed=math.fsum(weight**2 * each.borrowed for weight, each in weighed),
    )
