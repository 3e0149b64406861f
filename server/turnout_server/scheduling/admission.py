"""How much may wait: bounds on a queue's rows and bytes, and what to tell those for whom there is no room."""

from __future__ import annotations

from collections.abc import Callable

from turnout_server.errors import QueueFullError

SHORTEST_RETRY_S = 0.05
LONGEST_RETRY_S = 5.0


class Admission:
    """The bounds of one version's queue."""

    __slots__ = ("_bytes", "_count", "_drain_s", "_max_bytes", "_max_rows", "_model", "_rows", "_version")

    def __init__(
        self,
        model: str,
        version: int,
        max_rows: int,
        max_bytes: int,
        drain_s: Callable[[int], float] = lambda rows: 0.0,
    ) -> None:
        """Set the bounds.

        Args:
            model: named in the error.
            version: named in the error.
            max_rows: how many rows may wait at once; a larger request may wait when nothing else does.
            max_bytes: how many bytes of input may; the same holds.
            drain_s: how many seconds the given number of waiting rows will take, for the retry delay.
        """
        self._model = model
        self._version = version
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._drain_s = drain_s
        self._count = 0
        self._rows = 0
        self._bytes = 0

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return self._rows

    def check(self, rows: int, nbytes: int) -> None:
        """Refuse what does not fit.

        Raises:
            QueueFullError: with the time after which the queue should have drained.
        """
        if self._count and (self._rows + (rows or 1) > self._max_rows or self._bytes + nbytes > self._max_bytes):
            delay = min(max(self._drain_s(self._rows), SHORTEST_RETRY_S), LONGEST_RETRY_S)
            raise QueueFullError(self._model, self._version, delay)

    def enter(self, rows: int, nbytes: int) -> None:
        """Count what has started to wait; a request without rows takes the room of one."""
        self._count += 1
        self._rows += rows or 1
        self._bytes += nbytes

    def leave(self, rows: int, nbytes: int) -> None:
        """Count what has stopped waiting."""
        self._count -= 1
        self._rows -= rows or 1
        self._bytes -= nbytes
