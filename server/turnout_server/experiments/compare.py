"""One metric, one treatment: from sums to what is said of their difference. Pure.

Epochs are compared each by itself, and combined by their units (`statistics.effect`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from turnout_server.experiments.definition import Experiment
from turnout_server.experiments.evidence import Sums
from turnout_server.statistics import interval, rare, sequential, welch
from turnout_server.statistics.effect import Contrast, Effect, effect
from turnout_server.statistics.estimate import Estimate, adjusted, mean_of, ratio_of
from turnout_server.statistics.interval import Interval, Silence
from turnout_server.statistics.moments import Moments, PairMoments, merged_pairs
from turnout_server.statistics.rare import Events
from turnout_server.statistics.sequential import Horizon

Cells = Mapping[str, Mapping[str, PairMoments]]
"""Moments by epoch and arm."""
Weights = Mapping[str, Mapping[str, float]]
"""What arms are drawn by, by epoch and arm."""

BLURRED = 1e-11
"""A variance that is a smaller part of the mean's square is lost in rounding."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one metric says of one treatment, before anybody has said how sure it has to be."""

    contrasts: tuple[Contrast, ...]
    events: tuple[Events, ...]
    """Of a rare event's metric; empty for any other."""
    effect: Effect | None
    silence: Silence | None
    """Why nothing may be said."""
    p: float | None


def cells(sums: Iterable[Sums], metric: str) -> Cells:
    """Return the moments of a metric, days together."""
    parts: dict[str, dict[str, list[PairMoments]]] = defaultdict(lambda: defaultdict(list))
    for row in sums:
        if row.metric == metric:
            parts[row.epoch][row.arm].append(_moments(row))
    return {
        epoch: {arm: merged_pairs(pairs) for arm, pairs in sorted(arms.items())}
        for epoch, arms in sorted(parts.items())
    }


def _moments(row: Sums) -> PairMoments:
    """Return a row's moments.

    Squares are sums of whole numbers, of which 2^60 are the largest: small ones beside a large one are rounded, and may
    be a little less than their sums allow.
    """
    place = f"{row.metric}, epoch {row.epoch or 'of none'}, {row.day}, {row.arm}"
    squares_x, squares_y = (
        max(squares, total * total / row.units)
        for total, squares in ((row.total_x, row.squares_x), (row.total_y, row.squares_y))
    )
    most = math.sqrt(squares_x) * math.sqrt(squares_y)
    first, second = (
        Moments(row.units, total, squares, place=place)
        for total, squares in ((row.total_x, squares_x), (row.total_y, squares_y))
    )
    return PairMoments(first, second, min(max(row.products, -most), most))


def contrasts(found: Cells, experiment: Experiment, metric: str, treatment: str) -> tuple[Contrast, ...]:
    """Return control and *treatment* by one metric, for each epoch."""
    estimates = {epoch: _estimates(arms, experiment, metric) for epoch, arms in found.items()}
    return tuple(
        Contrast(epoch, arms.get(experiment.control), arms.get(treatment)) for epoch, arms in estimates.items()
    )


def _estimates(arms: Mapping[str, PairMoments], experiment: Experiment, metric: str) -> Mapping[str, Estimate | None]:
    wanted = experiment.metrics[metric]
    if wanted.covariate is not None:
        return dict(zip(arms, adjusted(list(arms.values())), strict=True))
    if wanted.denominator is not None:
        return {arm: ratio_of(pair) for arm, pair in arms.items()}
    return {arm: mean_of(pair.first) for arm, pair in arms.items()}


def measure(found: Cells, experiment: Experiment, metric: str, treatment: str, weights: Weights) -> Measured:
    """Return what one metric says of *treatment* against control."""
    compared = contrasts(found, experiment, metric, treatment)
    if experiment.metrics[metric].kind == "rare":
        counted = tuple(_events(found, experiment.control, treatment, weights))
        return Measured(compared, counted, effect(compared), None, rare.p_value(counted) if counted else None)
    if _is_blurred(found):
        return Measured(compared, (), effect(compared), Silence("units differ by too little beside their mean"), None)
    looked = welch.look(compared) if experiment.method == "fixed" else sequential.look(compared)
    if isinstance(looked, Silence):
        return Measured(compared, (), effect(compared), looked, None)
    p = welch.p_value(looked) if experiment.method == "fixed" else sequential.p_value(looked, horizon(experiment))
    return Measured(compared, (), looked, None, p)


def _is_blurred(found: Cells) -> bool:
    """Say whether an arm's variance is no more than what rounding leaves of its squares."""
    moments = [pair.first for arms in found.values() for pair in arms.values() if pair.n > 1]
    return any(0 < each.variance < BLURRED * each.mean**2 for each in moments)


def horizon(experiment: Experiment) -> Horizon:
    """Return what two arms are planned for: fixed at the start, whatever alpha Holm leaves them."""
    return Horizon(experiment.units * 2 / len(experiment.arms), experiment.alpha / len(experiment.treatments))


def intervals(
    measured: Measured, experiment: Experiment, alpha: float
) -> tuple[Interval | Silence, Interval | Silence]:
    """Return the absolute and the relative interval, each of which misses the truth with probability *alpha*."""
    if measured.silence is not None:
        return measured.silence, measured.silence
    if measured.events:
        ratio = rare.interval(measured.events, alpha)
        return Silence("of rare events only the ratio is known"), Interval(ratio.low - 1, ratio.high - 1)
    if measured.effect is None:
        nothing = Silence("no unit has had such an event" if measured.p is None else "no epoch compares")
        return nothing, nothing
    seen = measured.effect
    if experiment.method == "fixed":
        reach = welch.reach(seen, alpha)
    else:
        reach = sequential.reach(seen.units, horizon(experiment), alpha)
    return interval.absolute(seen, reach), interval.relative(seen, reach)


def _events(found: Cells, control: str, treatment: str, weights: Weights) -> Iterable[Events]:
    for epoch, arms in found.items():
        drawn = weights.get(epoch, {})
        of_control, of_treatment = drawn.get(control, 0.0), drawn.get(treatment, 0.0)
        if control in arms and treatment in arms and of_control > 0 and of_treatment > 0:
            share = of_treatment / (of_control + of_treatment)
            yield Events(round(arms[control].first.total), round(arms[treatment].first.total), share)


def variance_left(found: Cells, experiment: Experiment, metric: str) -> float | None:
    """Return what a covariate has left of the metric's variance, 0 to 1, by units; None without one."""
    if experiment.metrics[metric].covariate is None:
        return None
    before = after = 0.0
    for arms in found.values():
        for pair, freed in zip(arms.values(), adjusted(list(arms.values())), strict=True):
            if freed is not None:
                before += pair.first.variance * pair.n
                after += freed.spread * pair.n
    return after / before if before else None
