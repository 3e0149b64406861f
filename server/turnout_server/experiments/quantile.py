"""Metrics that are quantiles: which ranks to ask for, and what their values say. For one look, at the end. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from turnout_server.experiments.compare import Cells
from turnout_server.experiments.definition import Experiment
from turnout_server.statistics import quantiles
from turnout_server.statistics.interval import Interval, Silence
from turnout_server.statistics.quantiles import Quantile, Ranks

Values = Mapping[tuple[str, str, int], float]
"""By epoch, arm and rank."""


class Compared(NamedTuple):
    """A quantile of both arms."""

    control: float
    treatment: float
    absolute: Interval
    relative: Interval | Silence


Measure = Compared | Silence


def _alpha(experiment: Experiment, metric: str) -> float:
    """Return a quantile's alpha: there is no p-value for Holm to order, so that treatments share it evenly."""
    is_primary = metric == experiment.primary
    return experiment.alpha / len(experiment.treatments) if is_primary else experiment.alpha


def _ranks(experiment: Experiment, metric: str, units: int) -> Ranks:
    return quantiles.ranks(units, experiment.metrics[metric].quantile or 0.5, _alpha(experiment, metric))


def wanted(experiment: Experiment, metric: str, found: Cells) -> Sequence[tuple[str, str, int]]:
    """Return the (epoch, arm, rank) whose values `compared` needs."""
    return tuple(_wanted(experiment, metric, found))


def _wanted(experiment: Experiment, metric: str, found: Cells) -> Iterator[tuple[str, str, int]]:
    if len(found) != 1:
        return
    for epoch, arms in found.items():
        for arm, pair in arms.items():
            ranks = _ranks(experiment, metric, pair.n)
            yield from ((epoch, arm, rank) for rank in sorted(set(ranks)) if 1 <= rank <= pair.n)


def compared(experiment: Experiment, metric: str, treatment: str, found: Cells, values: Values) -> Measure:
    """Return a quantile's difference, or why there is none."""
    if len(found) != 1:
        return Silence("quantiles of several epochs are not combined" if found else "no unit's window has closed")
    [(epoch, arms)] = found.items()
    if experiment.control not in arms or treatment not in arms:
        return Silence("an arm has no units")
    control, treated = (
        _quantile(_ranks(experiment, metric, arms[arm].n), epoch, arm, values)
        for arm in (experiment.control, treatment)
    )
    absolute = quantiles.difference(control, treated)
    if control.value <= 0:
        return Compared(control.value, treated.value, absolute, Silence("control may be 0"))
    relative = Interval(absolute.low / control.value, absolute.high / control.value)
    return Compared(control.value, treated.value, absolute, relative)


def _quantile(ranks: Ranks, epoch: str, arm: str, values: Values) -> Quantile:
    return Quantile(
        low=values.get((epoch, arm, ranks.low), -math.inf),
        value=values[epoch, arm, ranks.point],
        high=values.get((epoch, arm, ranks.high), math.inf),
    )
