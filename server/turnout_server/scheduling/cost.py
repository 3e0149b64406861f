"""How long a run of a given size takes, learnt from the runs. A size is a number of rows, or what stands for it."""

from __future__ import annotations

from collections.abc import Mapping

_SMOOTHING = 0.1


class CostModel:
    """Run times by size class: 1, 2-3, 4-7, 8-15 ... rows, each an exponentially weighted mean."""

    __slots__ = ("_best", "_classes")

    def __init__(self, measured: Mapping[int, int]) -> None:
        """Start from *measured*: nanoseconds by number of rows, of which at least one must be given."""
        self._classes: dict[int, float] = {rows.bit_length(): float(ns) for rows, ns in measured.items()}
        self._best: dict[int, float] = dict(self._classes)

    def estimate(self, rows: int) -> float:
        """Return the expected run time in nanoseconds; a size never seen is taken as linear in the nearest one."""
        size = rows.bit_length()
        known = self._classes.get(size)
        if known is not None:
            return known
        nearest = min(self._classes, key=lambda other: (abs(other - size), -other))
        # Fewer rows never count as cheaper than linear, and a fixed cost makes that an underestimate.
        return self._classes[nearest] * 2.0 ** max(size - nearest, 0)

    def least(self, rows: int) -> float:
        """Return the shortest run time so far of any size up to *rows*, in nanoseconds; 0 where none is known."""
        size = rows.bit_length()
        best = self._best.get(size)
        if best is not None:
            return best
        return max((ns for other, ns in self._best.items() if other < size), default=0.0)

    def observe(self, rows: int, ns: int) -> None:
        """Learn from one run."""
        size = rows.bit_length()
        self._classes[size] = self.estimate(rows) * (1 - _SMOOTHING) + ns * _SMOOTHING
        if ns < self._best.get(size, float("inf")):
            self._best[size] = float(ns)
