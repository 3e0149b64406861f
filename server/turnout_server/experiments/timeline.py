"""The primary metric over time: as a look on each day would have seen it, and early units beside later ones. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, timedelta

from turnout_server.experiments import compare
from turnout_server.experiments.compare import Weights
from turnout_server.experiments.definition import Experiment
from turnout_server.experiments.evidence import Evidence
from turnout_server.experiments.findings import Interval, Novelty, Step
from turnout_server.statistics.interval import Silence

WEEK = timedelta(days=7)


def sequence(experiment: Experiment, evidence: Evidence, weights: Weights) -> Iterator[Step]:
    """Yield the relative difference of units that were first exposed up to each day, treatment by treatment."""
    for treatment in experiment.treatments:
        days = _days(evidence, experiment)
        for index in range(len(days)):
            yield _step(experiment, evidence, treatment, weights, days[: index + 1])


def novelty(experiment: Experiment, evidence: Evidence, weights: Weights) -> Iterator[Novelty]:
    """Yield the relative difference of the first week's units and of later ones: what is new wears off."""
    days = _days(evidence, experiment)
    if not days:
        return
    first, later = ([day for day in days if (day < days[0] + WEEK) is early] for early in (True, False))
    for treatment in experiment.treatments:
        values = [
            _step(experiment, evidence, treatment, weights, some).value if some else None for some in (first, later)
        ]
        yield Novelty(treatment, *values)


def part(one: float | None, other: float | None) -> float | None:
    """Return how much more *one* is, as a part of the *other*; None where that is not above 0."""
    return None if one is None or other is None or other <= 0 else one / other - 1


def _days(evidence: Evidence, experiment: Experiment) -> list[date]:
    """Return the days with units; none for a quantile, which is for one look."""
    if experiment.metrics[experiment.primary].kind == "quantile":
        return []
    return sorted({row.day for row in evidence.sums if row.metric == experiment.primary})


def _step(experiment: Experiment, evidence: Evidence, treatment: str, weights: Weights, days: Collection[date]) -> Step:
    sums = [row for row in evidence.sums if row.metric == experiment.primary and row.day in days]
    found = compare.cells(sums, experiment.primary)
    measured = compare.measure(found, experiment, experiment.primary, treatment, weights)
    alpha = experiment.alpha / len(experiment.treatments)
    _, relative = compare.intervals(measured, experiment, alpha)
    seen = None if measured.silence else measured.effect
    return Step(
        day=max(days),
        treatment=treatment,
        units=measured.effect.units if measured.effect else 0,
        value=part(seen.treatment.value, seen.control.value) if seen else None,
        interval=None if isinstance(relative, Silence) else Interval(relative.low, relative.high),
    )
