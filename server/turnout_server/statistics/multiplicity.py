"""p-values adjusted for there being several: compare each with the alpha that the whole family is to have.

Both hold for always-valid p-values too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values under which any false alarm at all is as rare as alpha; for treatments on the primary metric.

    Source: S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scand. J. Statist. 6, 1979.
    """
    count = len(p_values)
    ascending = sorted(range(count), key=p_values.__getitem__)
    scaled = ((count - rank) * p_values[index] for rank, index in enumerate(ascending))
    return _back(ascending, accumulate(scaled, max))


def holm_levels(p_values: Sequence[float], alpha: float) -> tuple[float, ...]:
    """Return the alpha for each one's own interval, so that it leaves 0 out exactly when `holm` says less than *alpha*.

    Those that are rejected, and the first that is not, get alpha over how many were left; the others what that one got.
    """
    ascending = sorted(range(len(p_values)), key=p_values.__getitem__)
    levels: dict[int, float] = {}
    left = len(p_values)
    for index in ascending:
        levels[index] = alpha / left
        if p_values[index] <= levels[index]:
            left = max(left - 1, 1)
    return tuple(levels[index] for index in range(len(p_values)))


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values under which false alarms are at most alpha of all alarms, on average; for exploring.

    Source: Y. Benjamini, Y. Hochberg, "Controlling the False Discovery Rate", J. R. Statist. Soc. B 57, 1995.
    """
    count = len(p_values)
    descending = sorted(range(count), key=p_values.__getitem__, reverse=True)
    scaled = (count / (count - rank) * p_values[index] for rank, index in enumerate(descending))
    return _back(descending, accumulate(scaled, min))


def _back(order: Sequence[int], adjusted: Iterable[float]) -> tuple[float, ...]:
    """Return *adjusted* in the order in which the p-values were given, none above 1."""
    by_index = dict(zip(order, adjusted, strict=True))
    return tuple(min(by_index[index], 1.0) for index in range(len(order)))
