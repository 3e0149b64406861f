"""Records on their way from the event loop to the writer's thread: bounded, numbered, and never waited for."""

from __future__ import annotations

from collections import deque

from turnout_server.journal.counters import DROPPED, OFFERED, Cells
from turnout_server.journal.schema import CAUSES
from turnout_server.vocabulary.record import Record

_RING_FULL = DROPPED + CAUSES.index("ring_full")


class Ring:
    """The records that wait to be written. One thread appends, another takes."""

    __slots__ = ("_limit", "_records", "cells", "dropped", "offered")

    def __init__(self, limit: int, cells: Cells | None = None) -> None:
        """Begin empty, with room for *limit* records; count in *cells*, or where nobody else looks."""
        self._records: deque[Record] = deque()
        self._limit = limit
        self.offered = 0
        """Records that came, those that were dropped included."""
        self.dropped = 0
        """Records for which there was no room."""
        self.cells = (cells or Cells()).view
        """All of the boot's counts, these two among them, as its counter file is to have them."""

    def __len__(self) -> int:
        return len(self._records)

    def append(self, record: Record) -> None:
        """Take a record, or drop it. One that has no decision is none of the journal's."""
        if record.seq < 0:
            return
        self.offered = self.cells[OFFERED] = self.offered + 1
        if len(self._records) < self._limit:
            self._records.append(record)
        else:
            self.dropped = self.cells[_RING_FULL] = self.dropped + 1

    def take(self, most: int) -> list[Record]:
        """Return the oldest *most* records, which wait no longer; fewer where there are fewer."""
        records = self._records
        return [records.popleft() for _ in range(min(most, len(records)))]
