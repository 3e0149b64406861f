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
    detectable: float | None
    """The least effect that the planned units find, as a part of control's value; None where they find none: the larger
    it is, the more units vary."""

    @property
    def is_enough(self) -> bool:
        """Whether the minimal effect can be found."""
        return self.needed is None or self.planned >= self.needed


_NONSENSE = Power(0, None, math.nan)


def planned(experiment: Experiment) -> Power | None:
    """Return what the primary metric's baseline says of the plan; None where the metric has no baseline.

    Arms are taken for equal, and treatments share alpha (Bonferroni, which Holm is never worse than). Where a treatment
    changes the metric it changes how much units vary: a proportion's mean says how much, and other numbers that are
    larger by a tenth vary by a tenth more, in standard deviations.

    Raises:
        InvalidExperimentError: its numbers are so far apart that no size comes out.
    """
    try:
        found = _planned(experiment)
    except (ValueError, OverflowError, ZeroDivisionError):
        found = _NONSENSE
    if found is None or _is_sound(found):
        return found
    said = f"alpha {experiment.alpha:g}, power {experiment.power:g}, {experiment.units} units"
    effect = "" if experiment.minimal_effect is None else f", a minimal effect of {experiment.minimal_effect:g}"
    place = f"$.metrics.{experiment.primary}.baseline"
    raise InvalidExperimentError(place, f"no size can be planned of it with {said}{effect}; expected numbers nearer by")


def _is_sound(found: Power) -> bool:
    finds = found.detectable is None or 0 < found.detectable < math.inf
    return finds and (found.needed is None or found.needed > 0)


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
    mean, variance = metric.baseline.mean, variance_of(metric)
    growth = power.of_proportion(mean) if metric.kind in ("proportion", "rare") else power.of_numbers
    needed = None
    if experiment.minimal_effect is not None:
        needed = -(-power.units_for_change(plan, mean, variance, experiment.minimal_effect, growth) * arms // 2)
    detectable = power.detectable_change(plan, experiment.units * 2 / arms, mean, variance, growth)
    return Power(experiment.units, needed, detectable)


def variance_of(metric: Metric) -> float:
    """Return the variance of one unit's number, as the metric's baseline says it. A baseline is needed."""
    if metric.baseline is None:
        raise ValueError("a metric without a baseline")
    if metric.baseline.variance is not None:
        return metric.baseline.variance
    return metric.baseline.mean * (1 - metric.baseline.mean)
