"""Two answers to one request -> how they differ, in figures. Pure, and bounded in time and memory.

What callers would notice comes first: which items are in the list and in which order, which price. Below that, for
every task, how far the numbers are apart.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from turnout_server.tasks import ranking, recommendation
from turnout_server.vocabulary.record import Comparison
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Array, Arrays, numbers_of

UNLIKE = "unlike"
"""The answers have other outputs, shapes or dtypes. What can be measured all the same is."""
TOO_LARGE = "too_large"
"""The answers are too large to be compared."""
DEFAULT_K = 10
MAX_ELEMENTS = 1 << 20
"""Numbers and texts that both answers may come to."""
MAX_ITEMS = 512
"""Items of one list that tau is taken over: the first ones, in the original's order, that both lists have."""
MAX_LISTS = 32
"""Lists of one answer that are compared: the first ones."""

_NUMBERS = "fiub"


def compare(task: str, original: Arrays, copy: Arrays, k: int = DEFAULT_K) -> Comparison:
    """Return how *copy* differs from *original*.

    Args:
        task: the route's.
        original: the answer that the caller got, by output; BF16 as `BF16_BITS`, which counts as the numbers it is.
        copy: another version's answer to the same request.
        k: how many items of a list count for the overlap.

    Returns:
        Figures, with None where a measure does not apply. `note` is empty, `UNLIKE` or `TOO_LARGE`.
    """
    if elements(original) + elements(copy) > MAX_ELEMENTS:
        return Comparison(note=TOO_LARGE)
    overlap = tau = top1 = delta = delta_most = None
    unlike = original.keys() != copy.keys() or any(copy[name].dtype != each.dtype for name, each in original.items())
    original, copy = numbers_of(original), numbers_of(copy)
    by_position = [name for name in original if name in copy]
    apart = _NOTHING
    match task:
        case Task.RECOMMENDATION:
            ours, theirs = _lists(original), _lists(copy)
            # An id is a name, not a number, and a place in the list is no item: scores are compared by item.
            by_position = [name for name in by_position if name not in recommendation.OUTPUTS]
            if ours is None or theirs is None or len(original["item_ids"]) != len(copy["item_ids"]):
                unlike = True
            else:
                overlap, tau, top1 = _agreement([_of_lists(*both, k) for both in zip(ours, theirs, strict=True)])
                apart = _apart_by_item(ours, theirs)
        case Task.RANKING:
            ours_of, theirs_of = _scores(original), _scores(copy)
            if ours_of is None or theirs_of is None or ours_of.size != theirs_of.size:
                unlike = True
            else:
                overlap, tau, top1 = _agreement([_of_scores(ours_of, theirs_of, k)])
        case Task.PRICE:
            delta, delta_most = _deltas(original.get("price"), copy.get("price"))
    for name in by_position:
        one, other = original[name], copy[name]
        unlike |= one.shape != other.shape
        if one.shape == other.shape and one.dtype.kind in _NUMBERS and other.dtype.kind in _NUMBERS:
            apart = _farther(apart, _distance(one, other))
    return Comparison(overlap, tau, top1, delta, delta_most, *apart, UNLIKE if unlike else "")


def elements(outputs: Arrays) -> int:
    """Return how many numbers and texts there are in all *outputs*."""
    return sum(output.size for output in outputs.values())


def badness(task: str, comparison: Comparison) -> float:
    """Return how bad a difference is, from 0 (none) to infinity; only comparable within one task.

    - unlike answers, or a NaN in one only: infinite, whatever the task;
    - recommendation, ranking: (1 - overlap) + (1 - tau) / 2, and 1 where the first items differ;
    - price: the greatest relative difference of a price, or without one that of any number;
    - tensors: the greatest relative difference, or without one the greatest absolute one.
    """
    if comparison.note == UNLIKE or comparison.nans:
        return float("inf")
    if task in (Task.RECOMMENDATION, Task.RANKING):
        overlap = 1.0 if comparison.overlap is None else comparison.overlap
        tau = 1.0 if comparison.tau is None else comparison.tau
        return (1 - overlap) + (1 - tau) / 2 + (comparison.top1 is False)
    for figure in (comparison.delta_most, comparison.relative, comparison.absolute):
        if figure:
            return figure
    return 0.0


def kendall(places: Array) -> float | None:
    """Return Kendall's tau of two orders of the same items; None for fewer than two items.

    tau = (C - D) / (n (n - 1) / 2), with C pairs of items in the same order and D in the other one: M. G. Kendall, "A
    New Measure of Rank Correlation", Biometrika 30 (1938), 81-93. This is tau-a. What is compared are the orders that
    callers see, and those have no ties, because equal scores keep the request's or the graph's order. Without ties
    tau-b, which mends tau-a for ties, is the same number.

    Args:
        places: where the first order's items stand in the second one, shape [n], all different. At most `MAX_ITEMS` are
            looked at.
    """
    places = places[:MAX_ITEMS]
    n = len(places)
    if n < 2:
        return None
    discordant = int(np.count_nonzero(np.triu(places[:, np.newaxis] > places, 1)))
    pairs = n * (n - 1) // 2
    return (pairs - 2 * discordant) / pairs


class _List(NamedTuple):
    """One list of items, best first, without padding; of an item that stands twice only its first place."""

    ids: list[str]
    scores: dict[str, float]


class _Apart(NamedTuple):
    absolute: float | None
    relative: float | None
    nans: int | None


_NOTHING = _Apart(None, None, None)


def _lists(outputs: Arrays) -> list[_List] | None:
    ids, scores = outputs.get("item_ids"), outputs.get("scores")
    if ids is None or scores is None or ids.ndim != 2 or ids.shape != scores.shape or scores.dtype.kind not in _NUMBERS:
        return None
    return [_list(*row) for row in zip(ids[:MAX_LISTS].tolist(), scores[:MAX_LISTS].tolist(), strict=True)]


def _list(ids: list[object], scores: list[float]) -> _List:
    found: dict[str, float] = {}
    for item, score in zip(ids, scores, strict=True):
        if item not in (recommendation.PADDING, ""):
            found.setdefault(str(item), float(score))
    return _List(list(found), found)


def _scores(outputs: Arrays) -> Array | None:
    """Return one score a candidate, shape [candidates]; None where there are none."""
    found = next(iter(outputs.values())) if len(outputs) == 1 else outputs.get(ranking.SCORE)
    if found is None or found.dtype.kind not in _NUMBERS or found.shape not in ((found.size,), (found.size, 1)):
        return None
    return found.reshape(-1).astype(np.float64)


class _Orders(NamedTuple):
    """Two orders of items."""

    ours: Sequence[Hashable]
    """The first k."""
    theirs: Sequence[Hashable]
    """The first k."""
    places: Array
    """Where the items that both have stand in their order, by ours, shape [n]; at most the first `MAX_ITEMS`."""


def _of_lists(ours: _List, theirs: _List, k: int) -> _Orders:
    place = {item: at for at, item in enumerate(theirs.ids)}
    places = [place[item] for item in ours.ids if item in place]
    return _Orders(ours.ids[:k], theirs.ids[:k], np.array(places[:MAX_ITEMS], np.int64))


def _of_scores(ours: Array, theirs: Array, k: int) -> _Orders:
    """Return the orders of candidates as `ranking.order` makes them: equal ones in the request's order, NaN last."""
    one, other = (np.argsort(-scores, kind="stable") for scores in (ours, theirs))
    place = np.empty_like(other)
    place[other] = np.arange(len(other))
    return _Orders(one[:k].tolist(), other[:k].tolist(), place[one[:MAX_ITEMS]])


def _agreement(pairs: Sequence[_Orders]) -> tuple[float | None, float | None, bool | None]:
    """Return overlap@k and tau, each the mean over the pairs that have one, and whether all begin alike.

    overlap@k is the number of items that are among the first k of both orders, over that of the longer of the two.
    """
    overlaps: list[float] = []
    taus: list[float] = []
    begins: list[bool] = []
    for ours, theirs, places in pairs:
        longer = max(len(ours), len(theirs))
        if longer:
            overlaps.append(len(set(ours).intersection(theirs)) / longer)
            begins.append(ours[:1] == theirs[:1])
        tau = kendall(places)
        if tau is not None:
            taus.append(tau)
    return _mean(overlaps), _mean(taus), all(begins) if begins else None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _apart_by_item(ours: list[_List], theirs: list[_List]) -> _Apart:
    apart = _NOTHING
    for one, other in zip(ours, theirs, strict=True):
        both = [item for item in one.ids if item in other.scores]
        left = np.array([one.scores[item] for item in both], np.float64)
        right = np.array([other.scores[item] for item in both], np.float64)
        apart = _farther(apart, _distance(left, right))
    return apart


def _deltas(original: Array | None, copy: Array | None) -> tuple[float | None, float | None]:
    """Return (copy - original) / |original|: the mean over the rows, and the greatest one without its sign.

    Two zeros differ by 0. A row with an original of 0 and another copy, or with a number that is not finite, has no
    relative difference and does not count; the absolute difference shows it.
    """
    if original is None or copy is None or original.shape != copy.shape:
        return None, None
    if original.dtype.kind not in _NUMBERS or copy.dtype.kind not in _NUMBERS:
        return None, None
    one, other = original.reshape(-1).astype(np.float64), copy.reshape(-1).astype(np.float64)
    with np.errstate(all="ignore"):
        deltas = np.where(one == other, 0.0, (other - one) / np.abs(one))
    deltas = deltas[np.isfinite(one) & np.isfinite(deltas)]
    if not deltas.size:
        return None, None
    return float(deltas.mean()), float(np.abs(deltas).max())


def _distance(original: Array, copy: Array) -> _Apart:
    """Return how far numbers at the same places are apart, at most.

    Places with NaN in either have no difference. An infinity is infinitely far from all but itself. An original of 0
    has no relative difference, unless the copy is 0 too. Whole numbers beyond 2^53 are rounded.
    """
    if not original.size:
        return _NOTHING
    one, other = original.astype(np.float64), copy.astype(np.float64)
    one_nan, other_nan = np.isnan(one), np.isnan(other)
    with np.errstate(all="ignore"):
        absolute = np.where(one == other, 0.0, np.abs(other - one))
        relative = np.where(np.isinf(absolute), absolute, absolute / np.abs(one))
    relative = np.where(absolute == 0.0, 0.0, relative)
    has_both = ~(one_nan | other_nan)
    has_relative = has_both & ((one != 0.0) | (other == 0.0))
    return _Apart(
        float(absolute[has_both].max()) if has_both.any() else None,
        float(relative[has_relative].max()) if has_relative.any() else None,
        int(np.count_nonzero(one_nan != other_nan)),
    )


def _farther(one: _Apart, other: _Apart) -> _Apart:
    return _Apart(
        _most(one.absolute, other.absolute),
        _most(one.relative, other.relative),
        other.nans if one.nans is None else one.nans + (other.nans or 0),
    )


def _most(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)
