"""How much may wait: bounds on rows, bytes and time, and what to tell those for whom there is no room."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from turnout_server.vocabulary.errors import QueueFullError

SHORTEST_RETRY_S = 0.05
LONGEST_RETRY_S = 5.0
BURST = 1024
"""Requests of a quick model that may wait: as many as come at once."""
RETRIES_A_S = 64
"""Retry delays are whole fractions of a second: refusals come by the thousand, and equal ones are made once."""


class Bounds(NamedTuple):
    """What may wait at once."""

    rows: int
    nbytes: int
    """Of input."""


class Bounded(Protocol):
    """Counts what waits, and knows how much may: of one version, or of all of them together.

    Several queues may share one, also with another data plane, where requests come and go in other threads.
    """

    @property
    def count(self) -> int:
        """Requests that wait."""

    @property
    def rows(self) -> int:
        """Rows that wait."""

    def fits(self, rows: int, nbytes: int, /) -> bool:
        """Say whether so much more may wait; where nothing waits, anything may."""

    def reserve(self, rows: int, nbytes: int, /) -> bool:
        """Count what starts to wait if it fits, and say whether it does."""

    def take(self, rows: int, nbytes: int, /) -> None:
        """Count what starts to wait, whether it fits or not."""

    def give_back(self, rows: int, nbytes: int, /) -> None:
        """Count what has stopped waiting."""


class Rooms(Protocol):
    """Where what waits is counted, if not in rooms of Python's own."""

    @property
    def total(self) -> Bounded:
        """Of all versions."""

    def room(self, bounds: Bounds) -> Bounded:
        """Return an empty one for a version."""


class Room:
    """A `Bounded` of this process's Python alone: for the event loop's thread only."""

    __slots__ = ("bounds", "count", "nbytes", "rows")

    def __init__(self, bounds: Bounds) -> None:
        """Begin empty."""
        self.bounds = bounds
        self.count = 0
        self.rows = 0
        self.nbytes = 0

    def fits(self, rows: int, nbytes: int) -> bool:
        """See `Bounded.fits`."""
        bounds = self.bounds
        return not self.count or (self.rows + rows <= bounds.rows and self.nbytes + nbytes <= bounds.nbytes)

    def reserve(self, rows: int, nbytes: int) -> bool:
        """See `Bounded.reserve`."""
        if not self.fits(rows, nbytes):
            return False
        self.take(rows, nbytes)
        return True

    def take(self, rows: int, nbytes: int) -> None:
        """See `Bounded.take`."""
        self.count += 1
        self.rows += rows
        self.nbytes += nbytes

    def give_back(self, rows: int, nbytes: int) -> None:
        """See `Bounded.give_back`."""
        self.count -= 1
        self.rows -= rows
        self.nbytes -= nbytes


class Admission:
    """Decides who may wait for one version.

    Rows and bytes bound the memory. The wait bounds the time: beyond it, a queue only makes everybody late. As a wait
    is an estimate, and callers that send the next request when the last is answered do not pile up, *patient* requests
    may wait whatever the estimate says.
    """

    __slots__ = ("_model", "_version", "own", "patient", "total", "wait_s")

    def __init__(
        self, model: str, version: int, own: Bounded, total: Bounded, *, wait_s: float = math.inf, patient: int = 0
    ) -> None:
        """Set the bounds.

        Args:
            model: named in the error.
            version: named in the error.
            own: what waits for this version, in whichever queue.
            total: what waits for any version.
            wait_s: how long a request may have to wait by the estimate, in seconds.
            patient: how many requests may wait even so.
        """
        self._model = model
        self._version = version
        self.own = own
        """What waits for this version."""
        self.total = total
        """What waits for any version."""
        self.wait_s = wait_s
        """How long a request may have to wait, in seconds."""
        self.patient = patient
        """How many may wait however long that takes."""

    def check(self, rows: int, nbytes: int, wait_s: float, runs_s: float = math.inf) -> None:
        """Refuse what does not fit, or would wait too long.

        Args:
            rows: the request's; 1 for one without rows.
            nbytes: of its inputs.
            wait_s: how long it would wait, in seconds, as estimated.
            runs_s: how long the runs alone take for which it would wait. Where that is not too long, a burst may wait
                whatever else the machine has to do meanwhile.

        Raises:
            QueueFullError: with the time after which it is worth asking again.
        """
        own = self.own
        if own.fits(rows, nbytes) and self.total.fits(rows, nbytes):
            if wait_s <= self.wait_s or own.count < self.patient:
                return
            if runs_s <= self.wait_s and own.count < BURST:
                return
            wait_s -= self.wait_s
        raise self._full(wait_s)

    def admit(self, rows: int, nbytes: int, wait_s: float, runs_s: float = math.inf) -> None:
        """Count what starts to wait, or refuse it as `check` does.

        Raises:
            QueueFullError: see `check`.
        """
        self.check(rows, nbytes, wait_s, runs_s)
        # Whoever came in the meantime, in another thread, counts too.
        if not self.own.reserve(rows, nbytes):
            raise self._full(wait_s)
        if not self.total.reserve(rows, nbytes):
            self.own.give_back(rows, nbytes)
            raise self._full(wait_s)

    def _full(self, wait_s: float) -> QueueFullError:
        retry_s = math.ceil(min(wait_s, LONGEST_RETRY_S) * RETRIES_A_S) / RETRIES_A_S
        return QueueFullError(self._model, self._version, max(retry_s, SHORTEST_RETRY_S))

    def enter(self, rows: int, nbytes: int) -> None:
        """Count what has started to wait, whether it fits or not."""
        self.own.take(rows, nbytes)
        self.total.take(rows, nbytes)

    def leave(self, rows: int, nbytes: int) -> None:
        """Count what has stopped waiting."""
        self.own.give_back(rows, nbytes)
        self.total.give_back(rows, nbytes)
