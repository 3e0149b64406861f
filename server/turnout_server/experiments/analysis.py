"""From evidence to findings: what is said, how sure, and whether to believe it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from turnout_server.experiments import belief, compare, findings, query, split, timeline, words
from turnout_server.experiments.added import Added, joined
from turnout_server.experiments.belief import Loss, Models
from turnout_server.experiments.compare import Cells, Measured, Weights
from turnout_server.experiments.definition import Experiment, digest_of
from turnout_server.experiments.evidence import Evidence
from turnout_server.experiments.findings import Arm, Comparison, Difference, EpochEffect, Findings
from turnout_server.experiments.quantile import Measure as QuantileMeasure
from turnout_server.experiments.query import Period
from turnout_server.statistics.interval import Interval, Silence
from turnout_server.statistics.multiplicity import benjamini_hochberg, holm, holm_levels


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How an analysis came about."""

    period: Period
    frozen: bool
    loss: Loss
    marks: tuple[str, ...] = ()
    started: Models = field(default_factory=dict)
    """What arms were at the start, if it was started here."""
    added: tuple[Added, ...] = ()
    """What was added since, which `experiment` does not have."""


def is_over(experiment: Experiment, period: Period) -> bool:
    """Say whether a fixed analysis may be made: the last unit that could enter has had its window."""
    if experiment.days is None:
        return True
    longest = max(experiment.window_s(name) for name in experiment.roles)
    end = period.start + timedelta(days=experiment.days, seconds=longest)
    return period.as_of >= end


class _Line(NamedTuple):
    """One metric of one treatment, on its way."""

    metric: str
    role: str
    treatment: str
    cells: Cells
    measured: Measured


def analyse(
    experiment: Experiment,
    evidence: Evidence,
    circumstances: Circumstances,
    quantiles: Mapping[tuple[str, str], QuantileMeasure] | None = None,
) -> Findings:
    """Return what the evidence says.

    Args:
        experiment: the question, as it was fixed. What was added to it is in the circumstances.
        evidence: sufficient statistics and counts.
        circumstances: what was looked at and how.
        quantiles: of metrics that are quantiles, by metric and treatment.
    """
    fixed, period = experiment, circumstances.period
    experiment = joined(fixed, circumstances.added)
    when = {one.name: one.at for one in circumstances.added}
    drawn = split.drawn(evidence.exposed, experiment)
    lines = list(_lines(experiment, evidence, drawn.weights))
    waits = experiment.method == "fixed" and not is_over(experiment, period)
    comparisons = _comparisons(experiment, lines, dict(quantiles or {}), waits, when)
    soundness = belief.soundness(
        experiment, evidence, drawn.weights, circumstances.loss, is_over=period.stop < period.as_of
    )
    sql = query.script(experiment, period)
    return Findings(
        format=findings.FORMAT,
        experiment=experiment.name,
        question=experiment.question,
        route=experiment.route,
        definition_digest=digest_of(fixed),
        definition=msgspec.to_builtins(fixed),
        frozen=circumstances.frozen,
        added=tuple(_said(one) for one in circumstances.added),
        marks=(*circumstances.marks, *map(_mark, circumstances.added)),
        method=experiment.method,
        alpha=experiment.alpha,
        planned_units=experiment.units,
        start=period.start,
        stop=period.stop,
        as_of=period.as_of,
        digests={**evidence.digests, "sql": hashlib.sha256(sql.encode()).hexdigest()},
        verdicts=tuple(
            belief.verdicts(experiment, evidence, drawn.faults, soundness, comparisons, waits, circumstances.started)
        ),
        comparisons=comparisons,
        soundness=soundness,
        sequence=() if experiment.method == "fixed" else tuple(timeline.sequence(experiment, evidence, drawn.weights)),
        novelty=() if waits else tuple(timeline.novelty(experiment, evidence, drawn.weights)),
        sql=sql,
    )


def _said(one: Added) -> findings.Added:
    return findings.Added(one.name, one.at, one.by, msgspec.to_builtins(one.metric))


def _mark(one: Added) -> str:
    return f"{one.name} was added {words.moment(one.at)} by {one.by}, after the start: it is exploratory"


def _lines(experiment: Experiment, evidence: Evidence, weights: Weights) -> Iterator[_Line]:
    for metric, role in experiment.roles.items():
        found = compare.cells(evidence.sums, metric)
        for treatment in experiment.treatments:
            measured = compare.measure(found, experiment, metric, treatment, weights)
            yield _Line(metric, role, treatment, found, measured)


def _comparisons(
    experiment: Experiment,
    lines: Sequence[_Line],
    quantiles: Mapping[tuple[str, str], QuantileMeasure],
    waits: bool,
    added: Mapping[str, datetime],
) -> tuple[Comparison, ...]:
    p_values = [_p(line, experiment, waits) for line in lines]
    levels, adjusted = _multiplicity(experiment, lines, p_values, added)
    return tuple(
        msgspec.structs.replace(
            _comparison(experiment, line, level, p, better, quantiles.get((line.metric, line.treatment)), waits),
            added=added.get(line.metric),
        )
        for line, level, p, better in zip(lines, levels, p_values, adjusted, strict=True)
    )


def _p(line: _Line, experiment: Experiment, waits: bool) -> float | None:
    quiet = waits or line.measured.silence is not None or experiment.metrics[line.metric].kind == "quantile"
    return None if quiet else line.measured.p


def _multiplicity(
    experiment: Experiment, lines: Sequence[_Line], p_values: Sequence[float | None], added: Collection[str]
) -> tuple[list[float], list[float | None]]:
    """Return each line's alpha, and its p-value among those that it is one of.

    What was added changes nothing of the others, and is one of all that was looked at.
    """
    levels = [experiment.alpha] * len(lines)
    adjusted: list[float | None] = [None] * len(lines)
    primary = [index for index, line in enumerate(lines) if line.role == "primary"]
    # What says nothing is in the family all the same.
    known = [1.0 if (p := p_values[index]) is None else p for index in primary]
    for index, level, p in zip(primary, holm_levels(known, experiment.alpha), holm(known), strict=True):
        levels[index] = level
        adjusted[index] = None if p_values[index] is None else p
    beside = [(index, p) for index, (line, p) in enumerate(zip(lines, p_values, strict=True)) if _explores(line, p)]
    fixed = [(index, p) for index, p in beside if lines[index].metric not in added]
    for family in (beside, fixed):  # the second time those are put right that others were added to
        for (index, _), p in zip(family, benjamini_hochberg([p or 0.0 for _, p in family]), strict=True):
            adjusted[index] = p
    return levels, adjusted


def _explores(line: _Line, p: float | None) -> bool:
    return line.role == "secondary" and p is not None


def _comparison(
    experiment: Experiment,
    line: _Line,
    alpha: float,
    p: float | None,
    adjusted: float | None,
    quantile: QuantileMeasure | None,
    waits: bool,
) -> Comparison:
    metric = experiment.metrics[line.metric]
    found = _found(experiment, line, alpha, quantile, waits)
    both = [arms for arms in line.cells.values() if experiment.control in arms and line.treatment in arms]
    control, treatment = (
        Arm(name=arm, units=sum(arms[arm].n for arms in both), value=value)
        for arm, value in zip((experiment.control, line.treatment), found.values, strict=True)
    )
    return Comparison(
        metric=line.metric,
        role=line.role,
        kind=metric.kind,
        better=metric.direction,
        margin=metric.margin,
        control=control,
        treatment=treatment,
        absolute=_difference(found.absolute, _minus(treatment.value, control.value)),
        relative=_difference(found.relative, timeline.part(treatment.value, control.value)),
        alpha=alpha,
        p=p,
        adjusted_p=adjusted,
        exploratory=line.role == "secondary",
        silence=found.silence,
        epochs=() if waits else tuple(_epochs(line)),
        theta_variance_left=None if waits else compare.variance_left(line.cells, experiment, line.metric),
    )


class _Found(NamedTuple):
    values: tuple[float | None, float | None]
    """Control's and the treatment's."""
    absolute: Interval | Silence
    relative: Interval | Silence
    silence: str | None


def _found(experiment: Experiment, line: _Line, alpha: float, quantile: QuantileMeasure | None, waits: bool) -> _Found:
    if waits:
        quiet = Silence("a fixed analysis is made once, at its planned end")
        return _Found((None, None), quiet, quiet, quiet.reason)
    if experiment.metrics[line.metric].kind == "quantile":
        if quantile is None or isinstance(quantile, Silence):
            quiet = quantile or Silence("its ranks were not asked for")
            return _Found((None, None), quiet, quiet, quiet.reason)
        relative = quantile.relative
        return _Found((quantile.control, quantile.treatment), quantile.absolute, relative, None)
    absolute, relative = compare.intervals(line.measured, experiment, alpha)
    seen = line.measured.effect
    values = (None, None) if seen is None else (seen.control.value, seen.treatment.value)
    quiet_both = isinstance(absolute, Silence) and isinstance(relative, Silence)
    return _Found(values, absolute, relative, relative.reason if quiet_both else None)  # type: ignore[union-attr]


def _difference(found: Interval | Silence, value: float | None) -> Difference:
    interval = None if isinstance(found, Silence) else findings.Interval(found.low, found.high)
    return Difference(value=value, interval=interval)


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _epochs(line: _Line) -> Iterator[EpochEffect]:
    for contrast in line.measured.contrasts:
        control, treatment = contrast.control, contrast.treatment
        yield EpochEffect(
            epoch=contrast.epoch,
            control_units=control.units if control else 0,
            treatment_units=treatment.units if treatment else 0,
            control=control.value if control else None,
            treatment=treatment.value if treatment else None,
        )
