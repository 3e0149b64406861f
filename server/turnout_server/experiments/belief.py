"""Whether to believe an analysis, and what it comes to. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from turnout_server.experiments import findings, split
from turnout_server.experiments.compare import Weights
from turnout_server.experiments.definition import Experiment
from turnout_server.experiments.evidence import Evidence
from turnout_server.experiments.findings import Comparison
from turnout_server.statistics import verdict
from turnout_server.statistics.interval import Interval, Silence
from turnout_server.statistics.verdict import Exposures, Reading


class Loss(NamedTuple):
    """What gateways offered to the journal, and what of it is not there."""

    offered: int
    lost: int


def soundness(
    experiment: Experiment, evidence: Evidence, weights: Weights, loss: Loss, is_over: bool
) -> findings.Soundness:
    """Return what there is to believe the data by, and to doubt them."""
    rows, exposed = evidence.assigned, evidence.exposed
    return findings.Soundness(
        srm_p=split.least_p(rows, experiment, weights, is_over),
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
        others=dict(evidence.others),
        outcomes=evidence.copies.ids,
        duplicates=evidence.copies.duplicates,
        quarantined=evidence.copies.quarantined,
        nobodys=sum(row.nobodys for row in evidence.fates),
        strangers=sum(row.strangers for row in evidence.fates),
        early=sum(row.early for row in evidence.fates),
        unreadable=dict(evidence.unreadable),
    )


def verdicts(
    experiment: Experiment,
    evidence: Evidence,
    unchecked: Sequence[str],
    soundness: findings.Soundness,
    comparisons: Sequence[Comparison],
    waits: bool,
) -> Iterator[findings.Verdict]:
    """Yield what it comes to for each treatment.

    Args:
        experiment: the question.
        evidence: what was read.
        unchecked: why the split cannot be checked, if so.
        soundness: whether to believe it.
        comparisons: of every metric and treatment.
        waits: whether it is too early for a fixed analysis.
    """
    unread = (f"{name} could not be read: {problem}" for name, problem in soundness.unreadable.items())
    more = [*unchecked, *_moved(experiment, evidence), *unread]
    units = {arm: sum(row.exposures for row in evidence.assigned if row.arm == arm) for arm in experiment.arms}
    believed = verdict.Soundness(
        srm_p=1.0 if soundness.srm_p is None else soundness.srm_p,
        exposures=tuple(Exposures(count, _share_of(soundness, count)) for count in units.values()),
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


def _moved(experiment: Experiment, evidence: Evidence) -> Iterator[str]:
    """Yield which arms were of more than one version: a label has moved, and two experiments are mixed."""
    for arm in experiment.arms:
        ends = [(row.least_version, row.most_version) for row in evidence.exposed if row.arm == arm]
        versions = sorted({version for pair in ends for version in pair if version is not None})
        if len(versions) > 1:
            yield f"{arm} was of versions {versions[0]} and {versions[-1]}"


def _share_of(soundness: findings.Soundness, exposures: int) -> int:
    """Return what an arm has lost, if arms lost alike: gateways count by cause, and not by arm."""
    kept = soundness.offered - soundness.lost
    return math.ceil(exposures * soundness.lost / kept) if kept > 0 else 0


def _reading(each: Comparison) -> Reading:
    """Return what a verdict goes by: the relative interval, or the absolute one where control may be 0."""
    better = each.better == "up"
    if each.relative.interval is not None:
        low, high = each.relative.interval.low, each.relative.interval.high
        return Reading(each.metric, Interval(low, high), each.margin, better)
    if each.absolute.interval is not None and each.control.value:
        low, high = each.absolute.interval.low, each.absolute.interval.high
        return Reading(each.metric, Interval(low, high), each.margin * abs(each.control.value), better)
    return Reading(each.metric, Silence(each.silence or "nothing is known of it"), each.margin, better)
