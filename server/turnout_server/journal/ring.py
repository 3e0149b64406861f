"""Records on their way from the event loop to the writer's thread: bounded, numbered, and never waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from turnout_server.journal.counters import DROPPED, OFFERED, Cells
from turnout_server.journal.exposures import Counts, add, counted
from turnout_server.journal.schema import CAUSES
from turnout_server.vocabulary.record import Page, Record

_RING_FULL = DROPPED + CAUSES.index("ring_full")


class Ring:
    """The records that wait to be written. One thread appends, another takes."""

    __slots__ = (
        "_came",
        "_limit",
        "_records",
        "_went",
        "are_counted_elsewhere",
        "cells",
        "dropped",
        "dropped_exposures",
        "offered",
    )

    def __init__(self, limit: int, cells: Cells | None = None) -> None:
        """Begin empty, with room for *limit* records; count in *cells*, or where nobody else looks."""
        self._records: deque[Record | Page] = deque()
        self._limit = limit
        # Counted apart, each by one thread only.
        self._came = self._went = 0
        self.offered = 0
        """Records that came, those that were dropped included."""
        self.dropped = 0
        """Records for which there was no room."""
        self.dropped_exposures: Counts = {}
        """Exposures among them."""
        self.are_counted_elsewhere = False
        """Whether somebody who knows of records before they come here says in the cells how many were offered."""
        self.cells = (cells or Cells()).view
        """All of the boot's counts, these two among them, as its counter file is to have them."""

    def __len__(self) -> int:
        return self._came - self._went

    def append(self, record: Record) -> None:
        """Take a record, or drop it. One that has no decision is none of the journal's."""
        if record.seq < 0:
            return
        self._offer(1)
        if len(self) < self._limit:
            self._records.append(record)
            self._came += 1
        else:
            add(self.dropped_exposures, counted([record]))
            self.dropped = self.cells[_RING_FULL] = self.dropped + 1

    def extend(self, page: Page) -> None:
        """Take the records on a page, or drop the last of them."""
        self._offer(len(page) + page.lost)
        page.keep(max(0, self._limit - len(self)))
        if page.lost:
            add(self.dropped_exposures, page.lost_exposures())
            self.dropped = self.cells[_RING_FULL] = self.dropped + page.lost
        if len(page):
            self._records.append(page)
            self._came += len(page)

    def _offer(self, count: int) -> None:
        self.offered += count
        if not self.are_counted_elsewhere:
            self.cells[OFFERED] = self.offered

    def take(self, least: int) -> list[Record | Page]:
        """Return the oldest *least* records, which wait no longer; fewer where there are fewer, and whole pages."""
        return list(self._taken(least))

    def waiting(self) -> list[Record | Page]:
        """Return what waits, which goes on waiting. From any thread."""
        return list(self._records)

    def _taken(self, least: int) -> Iterator[Record | Page]:
        ends = self._went + min(least, len(self))
        while self._went < ends:
            taken = self._records.popleft()
            self._went += 1 if isinstance(taken, Record) else len(taken)
            yield taken
