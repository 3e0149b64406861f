"""What another version's answers to the same requests change: row by row, and in sum. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from turnout_server.tasks.comparison import UNLIKE, badness, compare
from turnout_server.vocabulary.record import Comparison
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Array, Arrays

_NUMBERS = "fiub"


class Difference(NamedTuple):
    """How two answers differ in one row, or as a whole where they have no rows of their own."""

    row: int | None
    comparison: Comparison
    badness: float
    """0 for none; see `comparison.badness`."""


def differences(task: str, ours: Arrays, theirs: Arrays, rows: int) -> list[Difference]:
    """Compare two answers to the same request.

    Args:
        task: both models'. A ranking is one list, whose rows are its candidates: it is compared as a whole.
        ours: one answer, by output.
        theirs: the other one.
        rows: how many rows the request had; an output with as many has one for each.
    """
    outputs = [*ours.values(), *theirs.values()]
    if task == Task.RANKING or not rows or any(not each.ndim or len(each) != rows for each in outputs):
        whole = compare(task, ours, theirs)
        return [Difference(None, whole, badness(task, whole))]
    found = []
    for row in range(rows):
        left, right = ({name: each[row : row + 1] for name, each in side.items()} for side in (ours, theirs))
        one = compare(task, left, right)
        found.append(Difference(row, one, badness(task, one)))
    return found


def worst(found: Sequence[Difference], most: int) -> list[Difference]:
    """Return the rows that differ most, the worst first; none that does not differ."""
    return sorted((one for one in found if one.badness), key=lambda one: -one.badness)[:most]


def figures(found: Sequence[Difference]) -> dict[str, float | int]:
    """Return the measures over all rows, those that apply."""
    compared = [one.comparison for one in found]
    measures: dict[str, float | int] = {
        "compared": len(found),
        "differ": sum(1 for one in found if one.badness),
        "unlike": sum(1 for one in compared if one.note == UNLIKE),
    }
    for name, field, reduce in (
        ("overlap_mean", "overlap", np.mean),
        ("tau_mean", "tau", np.mean),
        ("top1_agreement", "top1", np.mean),
        ("delta_mean", "delta", np.mean),
        ("delta_p50", "delta", np.median),
        ("delta_most", "delta_most", np.max),
        ("absolute_most", "absolute", np.max),
        ("relative_most", "relative", np.max),
        ("nans", "nans", np.sum),
    ):
        values = [value for each in compared if (value := getattr(each, field)) is not None]
        if values:
            measures[name] = float(reduce(values))
    return measures


def outputs(ours: Arrays, theirs: Arrays) -> Mapping[str, Mapping[str, float]]:
    """Return each numeric output's mean on both sides, and how far the numbers are apart, absolutely."""
    found = {}
    for name, one in ours.items():
        other = theirs.get(name)
        if other is None or one.shape != other.shape or not _is_numeric(one) or not _is_numeric(other) or not one.size:
            continue
        left, right = one.astype(np.float64), other.astype(np.float64)
        with np.errstate(all="ignore"):
            apart = np.abs(right - left)
            apart = apart[~np.isnan(apart)]
            found[name] = {
                "mean": float(np.nanmean(left)) if not np.isnan(left).all() else float("nan"),
                "other_mean": float(np.nanmean(right)) if not np.isnan(right).all() else float("nan"),
                "apart_mean": float(apart.mean()) if apart.size else 0.0,
                "apart_p95": float(np.quantile(apart, 0.95)) if apart.size else 0.0,
                "apart_most": float(apart.max()) if apart.size else 0.0,
            }
    return found


def _is_numeric(values: Array) -> bool:
    return values.dtype.kind in _NUMBERS
