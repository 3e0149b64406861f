"""The primary metric over time: as a look on each day would have seen it, and early units beside later ones. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, timedelta

from turnout_server.experiments import compare
from turnout_server.experiments.compare import Cells, Weights
from turnout_server.experiments.definition import Experiment
from turnout_server.experiments.evidence import Evidence
from turnout_server.experiments.findings import Interval, Novelty, Step
from turnout_server.statistics.interval import Silence

WEEK = timedelta(days=7)
MOST_LOOKS = 100
"""Of a longer experiment every second day is looked at, or every third: the last one always."""


def sequence(experiment: Experiment, evidence: Evidence, weights: Weights) -> Iterator[Step]:
    """Yield the relative difference of units that were first exposed up to each day, treatment by treatment."""
    days = _days(evidence, experiment)
    every = -(-len(days) // MOST_LOOKS) if days else 1
    until = [days[: index + 1] for index in range(len(days)) if (len(days) - 1 - index) % every == 0]
    looks = [(max(some), _cells(experiment, evidence, some)) for some in until]
    for treatment in experiment.treatments:
        for day, found in looks:
            yield _step(experiment, found, treatment, weights, day)


def novelty(experiment: Experiment, evidence: Evidence, weights: Weights) -> Iterator[Novelty]:
    """Yield the relative difference of the first week's units and of later ones: what is new wears off."""
    days = _days(evidence, experiment)
    if not days:
        return
    first, later = ([day for day in days if (day < days[0] + WEEK) is early] for early in (True, False))
    for treatment in experiment.treatments:
        values = [
            _step(experiment, _cells(experiment, evidence, some), treatment, weights, max(some)).value if some else None
            for some in (first, later)
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


def _cells(experiment: Experiment, evidence: Evidence, days: Collection[date]) -> Cells:
    wanted = frozenset(days)
    return compare.cells([row for row in evidence.sums if row.day in wanted], experiment.primary)


def _step(experiment: Experiment, found: Cells, treatment: str, weights: Weights, day: date) -> Step:
    measured = compare.measure(found, experiment, experiment.primary, treatment, weights)
    alpha = experiment.alpha / len(experiment.treatments)
    _, relative = compare.intervals(measured, experiment, alpha)
    seen = None if measured.silence else measured.effect
    return Step(
        day=day,
        treatment=treatment,
        units=measured.effect.units if measured.effect else 0,
        value=part(seen.treatment.value, seen.control.value) if seen else None,
        interval=None if isinstance(relative, Silence) else Interval(relative.low, relative.high),
    )
