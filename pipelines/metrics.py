"""How good an answer was: plain NumPy, one function a metric, higher is better except for errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def hits(ranked: Array, wanted: list[set[int]]) -> npt.NDArray[np.bool_]:
    """Say which of the recommended items were wanted.

    Args:
        ranked: item ids, best first, shape [users, k]; -1 stands for nothing and never hits.
        wanted: for each user, the ids that were really chosen.

    Returns:
        Booleans of *ranked*'s shape.
    """
    flags = [[int(item) != -1 and int(item) in want for item in row] for row, want in zip(ranked, wanted, strict=True)]
    return np.array(flags, dtype=bool).reshape(ranked.shape)


def recall_at_k(relevance: Array, total: Array, k: int) -> float:
    """Return the mean share of the wanted items found in the first *k*.

    Args:
        relevance: whether the item at each place was wanted, best place first, shape [queries, at least k].
        total: how many items each query wanted in all, shape [queries]; queries that want none are left out.
        k: places looked at.
    """
    wanted = np.asarray(total, dtype=np.float64)
    found = np.asarray(relevance, dtype=np.float64)[:, :k].sum(axis=1)
    counted = wanted > 0
    return float(np.mean(found[counted] / wanted[counted])) if counted.any() else 0.0


def ndcg_at_k(relevance: Array, total: Array, k: int) -> float:
    """Return the mean normalised discounted cumulative gain of the first *k* places, for wanted or not wanted.

    DCG = sum over places i = 1.. of relevance / log2(i + 1) (Järvelin and Kekäläinen 2002), divided by the DCG of
    the best order. Arguments as for `recall_at_k`.
    """
    wanted = np.asarray(total, dtype=np.int64)
    gains = np.asarray(relevance, dtype=np.float64)[:, :k]
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(wanted, k)]
    counted = wanted > 0
    found = gains @ discounts[: gains.shape[1]]
    return float(np.mean(found[counted] / ideal[counted])) if counted.any() else 0.0


def ranked_relevance(scores: Array, relevant: Array, groups: Array, width: int) -> tuple[Array, Array]:
    """Order each query's candidates by score and say which of the first *width* were relevant.

    Args:
        scores: shape [rows]; higher is better. Ties keep the rows' order.
        relevant: whether a row was wanted, shape [rows].
        groups: the query of each row, any integers, shape [rows].
        width: places to keep.

    Returns:
        (relevance, total) as `recall_at_k` and `ndcg_at_k` take them: float64 [queries, width] and int64 [queries],
        queries in the order of their number.
    """
    numbers, group = np.unique(groups, return_inverse=True)
    order = np.lexsort((-np.asarray(scores, dtype=np.float64), group))
    starts = np.searchsorted(group[order], np.arange(len(numbers)))
    place = np.arange(len(order)) - starts[group[order]]
    flags = np.asarray(relevant, dtype=np.float64)[order]
    relevance = np.zeros((len(numbers), width))
    near = place < width
    relevance[group[order][near], place[near]] = flags[near]
    total = np.bincount(group, weights=np.asarray(relevant, dtype=np.float64), minlength=len(numbers))
    return relevance, total.astype(np.int64)


def rmse(truth: Array, predicted: Array) -> float:
    """Return the root of the mean squared error, in the target's unit."""
    return float(np.sqrt(np.mean(np.square(_difference(truth, predicted)))))


def mae(truth: Array, predicted: Array) -> float:
    """Return the mean absolute error, in the target's unit."""
    return float(np.mean(np.abs(_difference(truth, predicted))))


def coverage(truth: Array, low: Array, high: Array) -> float:
    """Return the share of *truth* inside [low, high], bounds included."""
    return float(np.mean((np.asarray(low) <= truth) & (truth <= np.asarray(high))))


def _difference(truth: Array, predicted: Array) -> npt.NDArray[np.float64]:
    if np.shape(truth) != np.shape(predicted):
        raise ValueError(f"truth has shape {np.shape(truth)}, predicted {np.shape(predicted)}; they must agree")
    return np.asarray(predicted, dtype=np.float64) - np.asarray(truth, dtype=np.float64)
