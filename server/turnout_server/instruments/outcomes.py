"""How outcomes are doing, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from turnout_server.instruments.families import FATE, Buckets, Family, counter, gauge, histogram


class Counts(Protocol):
    """What is counted of outcomes."""

    @property
    def fates(self) -> Mapping[str, int]:
        """Outcomes that callers have been told of, by what became of them."""

    @property
    def lag(self) -> Buckets:
        """From the event to the acknowledgement of accepted outcomes, in seconds."""

    @property
    def waiting(self) -> int:
        """Outcomes that are kept and in no file yet."""

    @property
    def problem(self) -> str:
        """Why nothing can be taken at the moment; empty when it can."""


class OutcomeInstruments:
    """The counts, read when somebody collects them. Names of outcomes are no labels: there is no end of them."""

    def __init__(self, counts: Callable[[], Counts]) -> None:
        """Read *counts*, on any thread."""
        self._counts = counts

    def families(self) -> tuple[Family, ...]:
        """Return every metric as it is now."""
        counts = self._counts()
        fates = [((fate,), count) for fate, count in counts.fates.items()]
        return (
            counter("turnout.outcomes", "{outcome}", _FATES, (FATE,), fates),
            histogram("turnout.outcomes.lag", "s", _LAG, (), [((), counts.lag)]),
            gauge("turnout.outcomes.waiting", "{outcome}", _WAITING, (), [((), counts.waiting)]),
            gauge("turnout.outcomes.writable", "1", _WRITABLE, (), [((), int(not counts.problem))]),
        )


_FATES = "Outcomes that callers were told of, by what became of them."
_LAG = "From the event to its acknowledgement, of outcomes that were accepted."
_WAITING = "Outcomes that are kept and in no file yet."
_WRITABLE = "1 while outcomes can be taken, 0 while callers are refused."
