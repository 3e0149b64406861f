"""How often a peer may do what costs us and brings nothing."""

from __future__ import annotations


class Budget:
    """A bucket of tokens that fills at a steady rate. The clock is handed in."""

    __slots__ = ("_burst", "_filled_at", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        """Begin full.

        Args:
            rate: tokens that come in a second.
            burst: tokens that there may be.
        """
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled_at: float | None = None

    def spend(self, now: float) -> bool:
        """Take one token; return False when there is none. *now* is in seconds, and does not go back."""
        if self._filled_at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def earn(self) -> None:
        """Put one token back, for something useful that was done."""
        if self._tokens < self._burst:
            self._tokens += 1.0
