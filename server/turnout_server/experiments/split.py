"""Whether arms got the units that their weights promise, in total, by epoch and by day. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from turnout_server.experiments.compare import Weights
from turnout_server.experiments.definition import Experiment
from turnout_server.experiments.evidence import Assigned, Exposed
from turnout_server.experiments.findings import Day, EpochSplit
from turnout_server.statistics import srm

LEAST_EXPECTED = 10
"""Units that an arm has to expect for Pearson's test to hold far out in its tail."""
_ROUNDING = 1e-9


class Drawn(NamedTuple):
    """What arms were drawn by."""

    weights: Weights
    faults: tuple[str, ...]
    """Why the split cannot be checked."""


def drawn(exposed: Iterable[Exposed], experiment: Experiment) -> Drawn:
    """Return what each epoch's arms were drawn by: the exposures' own propensities, else the definition's weights.

    An arm without exposures has what others leave.
    """
    by_epoch: dict[str, dict[str, Exposed]] = defaultdict(dict)
    for row in exposed:
        by_epoch[row.epoch][row.arm] = row
    weights: dict[str, Mapping[str, float]] = {}
    faults = []
    for epoch, rows in sorted(by_epoch.items()):
        place = f"epoch {epoch}" if epoch else "records without an epoch"
        known = {arm: row.most_propensity for arm, row in rows.items() if row.most_propensity is not None}
        if any((row.most_propensity or 0.0) - (row.least_propensity or 0.0) > _ROUNDING for row in rows.values()):
            faults.append(f"{place}: weights changed within it, and units of before and after are one")
        elif len(known) == len(rows):
            weights[epoch] = _completed(known, experiment.arms)
        elif experiment.weights:
            weights[epoch] = experiment.weights
        else:
            faults.append(f"{place}: neither propensities nor weights say what arms should have got")
    return Drawn(weights, tuple(faults))


def _completed(known: Mapping[str, float], arms: Sequence[str]) -> Mapping[str, float]:
    absent = [arm for arm in arms if arm not in known]
    left = max(1.0 - math.fsum(known.values()), 0.0)
    left = left if left > _ROUNDING else 0.0
    return {arm: known.get(arm, left / max(len(absent), 1)) for arm in arms}


def counted(rows: Iterable[Assigned], experiment: Experiment, weights: Weights, field: str) -> dict[str, srm.Assigned]:
    """Return each epoch's units, by `units` or `counted`, beside what they were drawn by."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        sums[row.epoch][row.arm] += getattr(row, field)
    return {
        epoch: srm.Assigned(
            tuple(arms.get(arm, 0) for arm in experiment.arms), tuple(weights[epoch][arm] for arm in experiment.arms)
        )
        for epoch, arms in sorted(sums.items())
        if epoch in weights and math.fsum(weights[epoch].values()) > 0
    }


def p_value(epochs: Sequence[srm.Assigned], is_over: bool) -> float | None:
    """Return the p-value of the arms having got what they should; None where there is nothing to say it by.

    While units enter it has to be right at every look. Once none does, every look sees the same, and Pearson's test is
    stronger, where each arm may expect enough units for it.
    """
    if not epochs:
        return None
    enough = all(
        sum(sum(each.units) * each.shares[arm] for each in epochs) >= LEAST_EXPECTED
        for arm in range(len(epochs[0].units))
    )
    return srm.fixed(epochs) if is_over and enough else srm.sequential(epochs)


def e_value(rows: Sequence[Assigned], experiment: Experiment, weights: Weights) -> float | None:
    """Return what all units' first exposures say against the split, in all epochs; None where nothing says it.

    It is right at every look, whether units enter or not.
    """
    epochs = list(counted(rows, experiment, weights, "units").values())
    return srm.e_value(epochs) if epochs else None


def least_p(rows: Sequence[Assigned], experiment: Experiment, weights: Weights, is_over: bool) -> float | None:
    """Return the least p-value: in total and by epoch, of all units and of those that are not excluded.

    It is multiplied by how many there are (Bonferroni).
    """
    least = []
    for field in ("units", "counted") if experiment.exclude else ("units",):
        epochs = counted(rows, experiment, weights, field)
        least += [
            p_value(list(epochs.values()), is_over),
            *(p_value([each], is_over) for each in epochs.values()),
        ]
    known = [p for p in least if p is not None]
    return min(min(known) * len(known), 1.0) if known else None


def by_epoch(
    rows: Sequence[Assigned], exposed: Sequence[Exposed], experiment: Experiment, weights: Weights, is_over: bool
) -> tuple[EpochSplit, ...]:
    """Return every epoch's split."""
    units: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        units[row.epoch][row.arm] += row.units
    times: dict[str, list[Exposed]] = defaultdict(list)
    for each in exposed:
        times[each.epoch].append(each)
    checked = counted(rows, experiment, weights, "units")
    return tuple(
        EpochSplit(
            epoch=epoch,
            first=min(each.first for each in seen),
            last=max(each.last for each in seen),
            arms=experiment.arms,
            weights=checked[epoch].shares if epoch in checked else None,
            units=tuple(units[epoch].get(arm, 0) for arm in experiment.arms),
            p=p_value([checked[epoch]], is_over) if epoch in checked else None,
        )
        for epoch, seen in sorted(times.items())
    )


def by_day(rows: Sequence[Assigned], experiment: Experiment, weights: Weights) -> tuple[Day, ...]:
    """Return the units of each day, and the p-value of all days until then."""
    days = []
    for day in sorted({row.day for row in rows}):
        until = [row for row in rows if row.day <= day]
        today = [row for row in rows if row.day == day]
        units = tuple(sum(row.units for row in today if row.arm == arm) for arm in experiment.arms)
        epochs = list(counted(until, experiment, weights, "units").values())
        days.append(Day(day=day, arms=experiment.arms, units=units, srm_p=p_value(epochs, is_over=False)))
    return tuple(days)
