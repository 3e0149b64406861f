"""Whether to believe an analysis, and what it comes to. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from turnout_server.experiments import findings, split
from turnout_server.experiments.compare import Weights
from turnout_server.experiments.definition import Experiment
from turnout_server.experiments.evidence import Assigned, Evidence, Exposed
from turnout_server.experiments.findings import Comparison
from turnout_server.statistics import verdict
from turnout_server.statistics.interval import Interval, Silence
from turnout_server.statistics.verdict import Exposures, Reading

Models = Mapping[str, tuple[str, int]]
"""Model and version by arm."""


class Loss(NamedTuple):
    """What gateways offered to the journal, and what of it is not there."""

    offered: int
    lost: int
    arms: Mapping[str, int] = MappingProxyType({})
    """Exposures of the experiment that are lost, by arm, as far as that is known."""
    unknown: int = 0
    """Records that are lost, of which nobody knows whose they were."""


def soundness(
    experiment: Experiment, evidence: Evidence, weights: Weights, loss: Loss, is_over: bool
) -> findings.Soundness:
    """Return what there is to believe the data by, and to doubt them."""
    rows, exposed = evidence.assigned, evidence.exposed
    return findings.Soundness(
        srm_p=split.least_p(rows, experiment, weights, is_over),
        srm_e=split.e_value(rows, experiment, weights),
        epochs=split.by_epoch(rows, exposed, experiment, weights, is_over),
        days=split.by_day(rows, experiment, weights),
        units=sum(row.units for row in rows),
        excluded=sum(row.units - row.counted for row in rows),
        immature=sum(row.counted - row.mature for row in rows),
        moved=sum(row.moved for row in rows),
        exposures=sum(row.exposures for row in rows),
        fallbacks=sum(row.fallbacks for row in exposed),
        failed=sum(row.failed for row in exposed),
        offered=loss.offered,
        lost=loss.lost,
        losses=tuple(_losses(experiment, exposed, loss)),
        lost_unknown=loss.unknown,
        clumping=_clumping(rows),
        others=dict(evidence.others),
        outcomes=evidence.copies.ids,
        duplicates=evidence.copies.duplicates,
        quarantined=evidence.copies.quarantined,
        nobodys=sum(row.nobodys for row in evidence.fates),
        strangers=sum(row.strangers for row in evidence.fates),
        early=sum(row.early for row in evidence.fates),
        unreadable=dict(evidence.unreadable),
    )


def _losses(experiment: Experiment, exposed: Sequence[Exposed], loss: Loss) -> Iterator[findings.ArmLoss]:
    for arm in experiment.arms:
        kept = sum(row.exposures for row in exposed if row.arm == arm)
        yield findings.ArmLoss(arm, kept, loss.arms.get(arm, 0))


def _clumping(rows: Sequence[Assigned]) -> float:
    """Return how many exposures the unit of an exposure has, on average: as many may be lost together."""
    exposures = sum(row.exposures for row in rows)
    return sum(row.squares for row in rows) / exposures if exposures else 1.0


def verdicts(
    experiment: Experiment,
    evidence: Evidence,
    unchecked: Sequence[str],
    soundness: findings.Soundness,
    comparisons: Sequence[Comparison],
    waits: bool,
    started: Models,
) -> Iterator[findings.Verdict]:
    """Yield what it comes to for each treatment.

    Args:
        experiment: the question.
        evidence: what was read.
        unchecked: why the split cannot be checked, if so.
        soundness: whether to believe it.
        comparisons: of every metric and treatment.
        waits: whether it is too early for a fixed analysis.
        started: the model and version of each arm at the start; empty where that is not known.
    """
    unread = (f"{name} could not be read: {problem}" for name, problem in soundness.unreadable.items())
    more = [*unchecked, *_mixed(experiment, evidence, started), *_lost(soundness), *unread]
    believed = verdict.Soundness(
        srm_p=1.0 if soundness.srm_p is None else soundness.srm_p,
        exposures=tuple(Exposures(arm.kept, arm.lost) for arm in soundness.losses),
        clumping=soundness.clumping,
        is_mature=any(row.mature for row in evidence.assigned) and not waits,
    )
    for treatment in experiment.treatments:
        mine = [each for each in comparisons if each.treatment.name == treatment]
        readings = {role: [_reading(each) for each in mine if each.role == role] for role in ("primary", "guardrail")}
        judged = verdict.judge(believed, readings["primary"][0], readings["guardrail"])
        if more:
            reasons = judged.reasons if judged.verdict is verdict.Verdict.INVALID else ()
            judged = verdict.Judgement(verdict.Verdict.INVALID, (*more, *reasons))
        yield findings.Verdict(treatment, judged.verdict.value, judged.reasons)


def _mixed(experiment: Experiment, evidence: Evidence, started: Models) -> Iterator[str]:
    """Yield which arms were not of the one version that they should be: a label has moved, or was never right."""
    seen: dict[str, tuple[str, int]] = {}
    for arm in experiment.arms:
        rows = [row for row in evidence.exposed if row.arm == arm]
        versions = sorted({end for row in rows for end in (row.least_version, row.most_version) if end is not None})
        models = sorted({end for row in rows for end in (row.least_model, row.most_model) if end is not None})
        if len(versions) > 1:
            yield f"{arm} was of versions {versions[0]} and {versions[-1]}"
        if len(models) > 1:
            yield f"{arm} was of models {models[0]} and {models[-1]}"
        if len(versions) == len(models) == 1:
            seen[arm] = (models[0], versions[0])
    for arm, found in seen.items():
        if arm in started and started[arm] != found:
            yield f"{arm} was {_named(found)}, and started as {_named(started[arm])}"
    if not experiment.aa:
        yield from _same(seen)


def _same(seen: Mapping[str, tuple[str, int]]) -> Iterator[str]:
    first: dict[tuple[str, int], str] = {}
    for arm, found in seen.items():
        other = first.setdefault(found, arm)
        if other != arm and found[1]:  # what was logged elsewhere may know no versions
            yield f"{arm} and {other} were both {_named(found)}"


def _named(found: tuple[str, int]) -> str:
    return f"{found[0]} version {found[1]}"


def _lost(soundness: findings.Soundness) -> Iterator[str]:
    if soundness.lost > verdict.MOST_LOST * soundness.offered:
        yield f"{soundness.lost} of {soundness.offered} records were lost"


def _reading(each: Comparison) -> Reading:
    """Return what a verdict goes by: the relative interval, or the absolute one where control may be 0."""
    better = each.better == "up"
    if each.relative.interval is not None:
        low, high = each.relative.interval.low, each.relative.interval.high
        return Reading(each.metric, Interval(low, high), each.margin, better)
    if each.absolute.interval is not None:
        low, high = each.absolute.interval.low, each.absolute.interval.high
        # Of a control that is 0 no part is any harm, and any more than nothing is.
        margin = max(each.margin * abs(each.control.value or 0.0), sys.float_info.min)
        return Reading(each.metric, Interval(low, high), margin, better)
    return Reading(each.metric, Silence(each.silence or "nothing is known of it"), each.margin, better)
