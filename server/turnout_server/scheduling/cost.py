"""How long a run of a given size takes, learnt from the runs. A size is a number of rows, or what stands for it."""

from __future__ import annotations

from collections.abc import Mapping

_SMOOTHING = 0.1
_DOUBT = 0.9


class CostModel:
    """Run times by size class: 1, 2-3, 4-7, 8-15 ... rows, each an exponentially weighted mean."""

    __slots__ = ("_best", "_classes", "_trust")

    def __init__(self, measured: Mapping[int, int]) -> None:
        """Start from *measured*: nanoseconds by number of rows, of which at least one must be given."""
        self._classes: dict[int, float] = {rows.bit_length(): float(ns) for rows, ns in measured.items()}
        self._best: dict[int, float] = dict(self._classes)
        self._trust: dict[int, float] = {}
        """By size class, what `doubt` has left of `least`; all of it where nothing is noted."""

    def learnt(self) -> dict[int, int]:
        """Return what is known: nanoseconds by number of rows, of the smallest number of each size class."""
        return {1 << max(size - 1, 0): round(ns) for size, ns in self._classes.items()}

    def estimate(self, rows: int) -> float:
        """Return the expected run time in nanoseconds.

        A size never seen takes what the nearest one does, and in proportion more where it is larger.
        """
        size = rows.bit_length()
        known = self._classes.get(size)
        if known is not None:
            return known
        nearest = min(self._classes, key=lambda other: (abs(other - size), -other))
        # Not in proportion less where it is smaller: what a run costs whatever its size would be left out.
        return self._classes[nearest] * 2.0 ** max(size - nearest, 0)

    def least(self, rows: int) -> float:
        """Return what a run takes at the least, in nanoseconds; 0 where nothing is known.

        That is the shortest run so far of its size class or, where there was none, what any smaller class takes.
        """
        size = rows.bit_length()
        best = self._best.get(size)
        if best is None:
            best = max((ns for other, ns in self._best.items() if other < size), default=0.0)
        return best * self._trust.get(size, 1.0)

    def doubt(self, rows: int) -> None:
        """Rely less on `least`, by which a request was refused: it may be of one slow run, and only another shows.

        So one of many such requests runs in the end, and what it shows is relied on again.
        """
        size = rows.bit_length()
        self._trust[size] = self._trust.get(size, 1.0) * _DOUBT

    def observe(self, rows: int, ns: int) -> None:
        """Learn from one run."""
        self.observe_all(rows, 1, ns, ns)

    def observe_all(self, rows: int, count: int, ns: int, best_ns: int) -> None:
        """Learn from *count* runs that took *ns* in all, the shortest of them *best_ns*."""
        size = rows.bit_length()
        kept = (1 - _SMOOTHING) ** count
        self._classes[size] = self.estimate(rows) * kept + ns / count * (1 - kept)
        if best_ns < self._best.get(size, float("inf")):
            self._best[size] = float(best_ns)
        if self._trust:
            self._trust.pop(size, None)
