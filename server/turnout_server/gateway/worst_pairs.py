"""Which pairs of answers are worth showing: the worst of each minute. The time comes with each pair."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappush, heapreplace

SHOWN = 20
"""Pairs of one series and minute."""
MAX_SERIES = 1024
"""Series that are remembered at once."""
NS_PER_MINUTE = 60_000_000_000


class WorstPairs:
    """The badness of the worst pairs so far of this minute, by series.

    Nobody waits for the minute's end: a pair is shown if it is among the worst of its minute *so far*. So the worst 20
    are always shown, and before them some that were bad for a while: 20 (1 + ln(n / 20)) of n pairs in any order, on
    average.
    """

    def __init__(self) -> None:
        self._minute = 0
        self._worst: dict[Hashable, list[float]] = {}

    def is_shown(self, series: Hashable, at_ns: int, badness: float) -> bool:
        """Count a pair; return whether it is to be shown.

        Args:
            series: what the pair is of.
            at_ns: when it was, in nanoseconds since the epoch. What comes late counts in the latest minute.
            badness: 0 for no difference, which is never shown.
        """
        minute = at_ns // NS_PER_MINUTE
        if minute > self._minute:
            self._minute = minute
            self._worst.clear()
        if not badness > 0.0:
            return False
        worst = self._worst.get(series)
        if worst is None:
            if len(self._worst) >= MAX_SERIES:
                return False
            worst = self._worst[series] = []
        if len(worst) < SHOWN:
            heappush(worst, badness)
            return True
        if badness <= worst[0]:
            return False
        heapreplace(worst, badness)
        return True
