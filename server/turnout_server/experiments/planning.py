"""How many units an experiment needs, and what it finds with those that are planned. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from turnout_server.experiments.definition import Experiment, InvalidExperimentError
from turnout_server.experiments.metric import Metric
from turnout_server.statistics import power
from turnout_server.statistics.power import Plan


class Power(NamedTuple):
    """What is planned beside what it takes. Units are of all arms together."""

    planned: int
    needed: int | None
    """To find the minimal effect; None where none is said."""
    detectable: float
    """The least effect that the planned units find, as a part of control's value."""

    @property
    def is_enough(self) -> bool:
        """Whether the minimal effect can be found."""
        return self.needed is None or self.planned >= self.needed


_NONSENSE = Power(0, None, math.nan)


def planned(experiment: Experiment) -> Power | None:
    """Return what the primary metric's baseline says of the plan; None where the metric has no baseline.

    Arms are taken for equal, and treatments share alpha (Bonferroni, which Holm is never worse than).

    Raises:
        InvalidExperimentError: its numbers are so far apart that no size comes out.
    """
    try:
        found = _planned(experiment)
    except (ValueError, OverflowError, ZeroDivisionError):
        found = _NONSENSE
    if found is None or (0 < found.detectable < math.inf and (found.needed is None or found.needed > 0)):
        return found
    said = f"alpha {experiment.alpha:g}, power {experiment.power:g}, {experiment.units} units"
    effect = "" if experiment.minimal_effect is None else f", a minimal effect of {experiment.minimal_effect:g}"
    place = f"$.metrics.{experiment.primary}.baseline"
    raise InvalidExperimentError(place, f"no size can be planned of it with {said}{effect}; expected numbers nearer by")


def _planned(experiment: Experiment) -> Power | None:
    metric = experiment.metrics[experiment.primary]
    if metric.baseline is None:
        return None
    arms = len(experiment.arms)
    plan = Plan(
        share=0.5,
        alpha=experiment.alpha / len(experiment.treatments),
        power=experiment.power,
        always_valid=experiment.method == "sequential",
    )
    mean, variance = abs(metric.baseline.mean), variance_of(metric)
    in_two = power.detectable(plan, experiment.units * 2 / arms, variance, variance) / mean
    needed = None
    if experiment.minimal_effect is not None:
        effect = experiment.minimal_effect * mean
        needed = -(-power.units(plan, effect, variance, variance) * arms // 2)
    return Power(experiment.units, needed, in_two)


def variance_of(metric: Metric) -> float:
    """Return the variance of one unit's number, as the metric's baseline says it. A baseline is needed."""
    if metric.baseline is None:
        raise ValueError("a metric without a baseline")
    if metric.baseline.variance is not None:
        return metric.baseline.variance
    return metric.baseline.mean * (1 - metric.baseline.mean)
