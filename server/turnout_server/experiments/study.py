"""One analysis, from a journal to findings: reads, asks, and lets `analysis` think."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from turnout_server.experiments import compare, quantile
from turnout_server.experiments.added import Added, joined
from turnout_server.experiments.analysis import Circumstances, analyse
from turnout_server.experiments.belief import Loss, Models
from turnout_server.experiments.definition import Experiment, InvalidExperimentError
from turnout_server.experiments.evidence import Evidence, OutOfRangeError, Source, opened
from turnout_server.experiments.findings import Findings
from turnout_server.experiments.quantile import Measure
from turnout_server.experiments.query import Period
from turnout_server.journal import losses
from turnout_server.journal.accounts import accounts
from turnout_server.statistics.interval import Silence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MANY_MOVED = 0.01
"""A larger share of units in two arms is told: weights moved, or assignments did not stick."""


def period(experiment: Experiment, as_of: datetime) -> Period:
    """Return what of an experiment is looked at.

    Raises:
        InvalidExperimentError: it has no start, or starts later than that.
    """
    start = experiment.start
    if start is None:
        raise InvalidExperimentError("$.start", "missing: it was not started, and does not say when it was")
    if start >= as_of:
        raise InvalidExperimentError("$.start", f"{start.isoformat()} is not before {as_of.isoformat()}")
    ends = [as_of, *([experiment.stop] if experiment.stop else [])]
    if experiment.days is not None:
        ends.append(start + timedelta(days=experiment.days))
    return Period(start, min(ends), as_of)


def study(
    journal: Path,
    experiment: Experiment,
    as_of: datetime,
    *,
    is_frozen: bool,
    marks: tuple[str, ...] = (),
    started: Models | None = None,
    added: tuple[Added, ...] = (),
    threads: int | None = None,
) -> Findings:
    """Analyse an experiment by what a journal and its outcomes say, as they were known *as_of*.

    Args:
        journal: its directory.
        experiment: the question.
        as_of: with a zone.
        is_frozen: whether the definition was fixed when the experiment started.
        marks: what a reader must know of how it came about.
        started: the model and version of each arm at the start, if that is known.
        added: metrics that were added after the start.
        threads: of the database; None takes its own number. They change nothing of what is found.

    Raises:
        InvalidExperimentError: there is no time to look at.
        EvidenceError, OutOfRangeError: the records or outcomes cannot be read.
    """
    looked = period(experiment, as_of)
    asked = joined(experiment, added)
    with opened(journal, asked, looked, threads) as (source, evidence):
        quantiles = _quantiles(source, evidence, asked, looked)
    known = (*marks, *_marks(evidence))
    circumstances = Circumstances(looked, is_frozen, _loss(journal, experiment, looked), known, started or {}, added)
    try:
        return analyse(experiment, evidence, circumstances, quantiles)
    except (ArithmeticError, ValueError) as error:  # squares of what a double may hold are more than one may
        why = "" if isinstance(error, OverflowError) else f": {error}"  # whose message is the C library's
        raise OutOfRangeError(f"outcomes are too large to be compared{why}; a cap bounds them") from error


def _marks(evidence: Evidence) -> Iterator[str]:
    """Yield what a reader must know of the records."""
    if evidence.keys > 1:
        yield (
            f"units were hashed with {evidence.keys} keys: who came under several counts as often, as if they were "
            "others, and what they did after a rotation is not found for who they were before"
        )
    units, moved = (sum(getattr(row, name) for row in evidence.assigned) for name in ("units", "moved"))
    if moved > MANY_MOVED * units:
        yield (
            f"{moved} of {units} units were assigned to another arm later: what is compared is the arm in which units "
            "began, and an effect seems smaller than it is"
        )


def _quantiles(
    source: Source, evidence: Evidence, experiment: Experiment, looked: Period
) -> dict[tuple[str, str], Measure]:
    """Return what quantiles say: once, when no unit enters any more and all of them have had their windows."""
    found: dict[tuple[str, str], Measure] = {}
    for name in experiment.roles:
        if experiment.metrics[name].kind != "quantile":
            continue
        is_over = looked.as_of >= looked.stop + timedelta(seconds=experiment.window_s(name))
        cells = compare.cells(evidence.sums, name)
        values = source.values(name, quantile.wanted(experiment, name, cells)) if is_over else {}
        for treatment in experiment.treatments:
            found[name, treatment] = (
                quantile.compared(experiment, name, treatment, cells, values)
                if is_over
                else Silence("a quantile is for one look, when no unit enters any more and all windows have closed")
            )
    return found


def _loss(journal: Path, experiment: Experiment, looked: Period) -> Loss:
    """Return what all of a journal's boots have lost, and what of it were exposures of the experiment."""
    boots = accounts(journal).accounts
    lost = losses.between([each.loss for each in boots], _us(looked.start), _us(looked.stop))
    arms = dict.fromkeys(experiment.arms, 0)
    for arm, count in lost.exposures.items():
        # As the SQL has it: a route without an experiment in its table may be asked all the same.
        if arm.route == experiment.route and arm.experiment in ("", experiment.name) and arm.target in arms:
            arms[arm.target] += count
    total = sum(each.loss.records for each in boots)
    return Loss(sum(each.offered for each in boots), total, arms, lost.unknown)


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
