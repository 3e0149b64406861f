"""Outcomes that wait to be acknowledged, without I/O: what is sent next, when again, and what became of them.

An outcome stays until a server has said what became of it. So a batch that failed is sent again with the same ids,
which the server knows if it had it all the same.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from turnout import errors, v1

BATCH = 1000
"""Outcomes in one call; a server takes no more."""
LINGER_S = 0.2
"""How long an outcome waits for company, in seconds."""
_FIRST_REST_S = 0.1
_LONGEST_REST_S = 5.0
_MOST_FAILURES = 5
"""How often a batch is sent that the server fails on, for reasons that may be in the batch."""
_LATER = (errors.UnavailableError, errors.OverloadedError, errors.DeadlineError)
"""How calls end that are worth another try, however often."""
_log = logging.getLogger("turnout")


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """What became of a client's outcomes so far."""

    accepted: int = 0
    duplicate: int = 0
    """The server had them already."""
    rejected: int = 0
    """The server found something wrong with them; the log has each reason once."""
    lost: int = 0
    """There was no room for them, the server would not have them, or the client was closed first."""
    waiting: int = 0
    """Nobody has acknowledged them yet."""


_FATES = {
    v1.OUTCOME_FATE_ACCEPTED: "accepted",
    v1.OUTCOME_FATE_DUPLICATE: "duplicate",
    v1.OUTCOME_FATE_REJECTED: "rejected",
}


class Outbox:
    """A client's outcomes, in order. Any thread."""

    def __init__(self, size: int, must_fit: bool = False) -> None:
        """Make an empty one.

        Args:
            size: how many may wait, 1 or more.
            must_fit: raise where there is no room for one more, rather than count it as lost.
        """
        if size < 1:
            raise ValueError(f"outcome_buffer must be 1 or more; found {size!r}")
        self._size = size
        self._must_fit = must_fit
        self._waiting: deque[v1.Outcome] = deque()
        self._counts = dict.fromkeys((*_FATES.values(), "lost"), 0)
        self._lock = threading.Lock()
        self._said: set[str] = set()
        self._failures = 0
        """In a row."""
        self._not_before = -math.inf
        self._error: errors.TurnoutError | None = None
        """Why the head of the queue is still there."""
        self._fault: errors.TurnoutError | None = None
        """Why outcomes were lost that a server would not have."""
        self._is_closed = False
        self.added = 0
        """How many were taken in."""
        self.ended = 0
        """How many of those wait no more."""

    def __len__(self) -> int:
        return len(self._waiting)

    def counts(self) -> OutcomeCounts:
        """Return what became of all so far."""
        with self._lock:
            return OutcomeCounts(**self._counts, waiting=len(self._waiting))

    def add(self, outcome: v1.Outcome) -> None:
        """Take one in.

        Raises:
            OverloadedError: there is no room, and it must fit.
            ValueError: nobody is left to send it.
        """
        with self._lock:
            if self._is_closed:
                raise ValueError("this client is closed")
            if len(self._waiting) < self._size:
                self._waiting.append(outcome)
                self.added += 1
                return
            if self._must_fit:
                raise errors.OverloadedError(
                    f"{self._size} outcomes wait already (outcome_buffer)",
                    code="RESOURCE_EXHAUSTED",
                    reason="BUFFER_FULL",
                )
            self._counts["lost"] += 1
            self._say("full", f"{self._size} outcomes wait already (outcome_buffer); more are dropped and counted")

    def batch(self) -> list[v1.Outcome]:
        """Return what is to be sent next; it stays until `settled`, `failed` or `abandon` say otherwise."""
        with self._lock:
            return list(itertools.islice(self._waiting, BATCH))

    def rest(self, now: float) -> float:
        """Return how many seconds from *now* nothing is to be sent."""
        return max(self._not_before - now, 0.0)

    def settled(self, batch: Sequence[v1.Outcome], results: Sequence[v1.OutcomeResult]) -> None:
        """Hear what became of each of a *batch*."""
        with self._lock:
            if self._is_closed:
                return
            self._remove(len(batch))
            self._failures, self._not_before, self._error = 0, -math.inf, None
            for result in results:
                fate = _FATES.get(result.fate, "lost")
                self._counts[fate] += 1
                if fate == "rejected":
                    self._say(result.reason, f"an outcome was rejected: {result.reason}: {result.message}")
            self._counts["lost"] += max(len(batch) - len(results), 0)

    def failed(self, batch: Sequence[v1.Outcome], error: errors.TurnoutError, now: float) -> None:
        """Hear that a call with a *batch* failed; it is sent again later, unless that cannot help."""
        with self._lock:
            if self._is_closed:
                return
            self._failures += 1
            later = isinstance(error, _LATER) or error.code == "CANCELLED"
            if later or (isinstance(error, errors.ServerError) and self._failures < _MOST_FAILURES):
                rest = min(_FIRST_REST_S * 2 ** min(self._failures - 1, 10), _LONGEST_REST_S)
                self._not_before = now + (rest if error.retry_after is None else error.retry_after)
                self._error = error
                return
            self._remove(len(batch))
            self._failures, self._error, self._fault = 0, None, error
            self._counts["lost"] += len(batch)
            self._say(error.reason, f"{len(batch)} outcomes are lost: {error}")

    def abandon(self) -> None:
        """Count what waits as lost, and take nothing any more: nobody is left to send it."""
        with self._lock:
            self._is_closed = True
            count = len(self._waiting)
            self._remove(count)
            self._counts["lost"] += count
            if count:
                self._say("", f"{count} outcomes are lost: {self._error or 'the client was not closed in time'}")

    def check(self) -> OutcomeCounts:
        """Return what became of all so far.

        Raises:
            TurnoutError: outcomes were lost that a server would not have; once.
        """
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault
        return self.counts()

    def overdue(self) -> errors.TurnoutError:
        """Return why not all were acknowledged in time."""
        waits = f"{len(self._waiting)} outcomes are not acknowledged yet"
        return self._error or errors.DeadlineError(waits, code="DEADLINE_EXCEEDED")

    def _remove(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()
        self.ended += count

    def _say(self, cause: str, text: str) -> None:
        if cause not in self._said and len(self._said) < BATCH:
            self._said.add(cause)
            _log.warning("%s", text)


def outcome(
    name: str,
    value: float,
    unit: str,
    request_id: str | None,
    outcome_id: str | None,
    time: datetime | float,
) -> v1.Outcome:
    """Build one.

    Args:
        name: what was done.
        value: how much.
        unit: who did it; empty for whom *request_id* says.
        request_id: after which request; None where the unit is named.
        outcome_id: None makes one.
        time: when, with a time zone or in seconds since the epoch.

    Raises:
        TypeError, ValueError: it cannot be sent.
    """
    for what, given in (
        ("name", name),
        ("unit", unit),
        ("request_id", request_id or ""),
        ("outcome_id", outcome_id or ""),
    ):
        if not isinstance(given, str):
            raise TypeError(f"{what} must be text; found {given!r}")
    if not unit and not request_id:
        raise ValueError("an outcome needs a unit or a request_id")
    if not math.isfinite(value):
        raise ValueError(f"value must be finite; found {value!r}")
    message = v1.Outcome(outcome_id=outcome_id or str(uuid.uuid4()), name=name, value=value)
    if request_id:
        message.request_id = request_id
    else:
        message.unit = unit
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise ValueError(f"time needs a time zone: {time.isoformat()} has none")
        time = time.timestamp()
    message.event_time.FromMicroseconds(round(time * 1e6))
    return message
