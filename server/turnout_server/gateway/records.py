"""Makes the one record of each request's end, numbers it, and shows it to everybody who reads records."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Protocol

import structlog

from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.query import Query
from turnout_server.vocabulary.record import Comparison, Page, Record, Timing

Reader = Callable[[Record], None]
"""Told of every record, on the event loop's thread, in the order of the ends. It must not wait for anything."""

TRACEPARENT_LIMIT = 64
"""Characters of a caller's `traceparent` that are kept; the W3C's has 55. Tens of thousands of records may wait."""

_log = structlog.get_logger("turnout.records")


class Numbers(Protocol):
    """Numbers the ends of a process's requests, whichever data plane served them."""

    def next(self) -> tuple[Page | None, int]:
        """Return the number of an end, and the records with lower ones that no keeper has seen yet."""


class Keeper(Protocol):
    """Keeps every record, whichever data plane made it: told on the event loop's thread, in the order of the ends.

    It must not wait for anything.
    """

    def append(self, record: Record) -> None:
        """Take a record that was made here."""

    def extend(self, page: Page) -> None:
        """Take records of the native data plane, which are the keeper's from now on."""


class Counting:
    """Numbers for a process with one data plane."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers = count()

    def next(self) -> tuple[Page | None, int]:
        """See `Numbers.next`."""
        return None, next(self._numbers)


class Records:
    """The records of one process since it started. The event loop's thread only."""

    __slots__ = ("_keeper", "_numbers", "_readers", "boot")

    def __init__(
        self,
        readers: Sequence[Reader] = (),
        boot: str = "",
        numbers: Numbers | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        """Begin at number 0.

        Args:
            readers: told of every record that is made here.
            boot: what this start of the process is called; made up where it is empty.
            numbers: numbers the ends; None where no other data plane makes records too.
            keeper: told of every record, whichever data plane made it; None for nobody.
        """
        self._readers = tuple(readers) if keeper is None else (*readers, keeper.append)
        self._keeper = keeper
        self.boot = boot or secrets.token_hex(8)
        self._numbers: Numbers = numbers or Counting()

    def ended(
        self,
        query: Query,
        decision: Decision | None,
        code: str,
        started_ns: int,
        *,
        route: str = "",
        rows: int = 0,
        timing: Timing | None = None,
    ) -> Record:
        """Make the record of a request that has just ended, and show it to the readers.

        Args:
            query: the request.
            decision: who was to answer; None for a request that ended before that was known.
            code: how it ended.
            started_ns: when it came, on the clock of `time.monotonic_ns`.
            route: the route that was asked, where there is no decision.
            rows: how many it brought.
            timing: where its time went, if it got as far as a queue.
        """
        took_ns = time.monotonic_ns() - started_ns
        number = -1
        request_id = query.request_id
        if decision is not None:
            number = self._next()
            route = decision.route
            if not request_id:
                request_id = f"{self.boot}-{number}"
        record = Record(
            number,
            time.time_ns() - took_ns,
            took_ns,
            code,
            decision,
            route,
            query.unit,
            request_id,
            rows,
            timing,
            query.headers.get("traceparent", "")[:TRACEPARENT_LIMIT],
            query.principal,
        )
        self._show(record)
        return record

    def copy_ended(
        self,
        original: Record,
        decision: Decision,
        code: str,
        started_ns: int,
        ended_ns: int,
        *,
        rows: int = 0,
        timing: Timing | None = None,
        comparison: Comparison | None = None,
    ) -> None:
        """Make the record of a copy, and show it to the readers.

        Args:
            original: the record of the request that was copied.
            decision: the original's, with the version that the copy went to, and no target.
            code: how the copy ended.
            started_ns: when it was sent, on the clock of `time.monotonic_ns`.
            ended_ns: when it ended, likewise; comparing it came after that.
            rows: how many it brought.
            timing: where its time went, if it got as far as a queue.
            comparison: how its answer differs.
        """
        number = self._next()
        arrived_ns = time.time_ns() - (time.monotonic_ns() - started_ns)
        copied = original._replace(
            seq=number,
            arrived_ns=arrived_ns,
            took_ns=ended_ns - started_ns,
            code=code,
            decision=decision,
            rows=rows,
            timing=timing,
            copy_of=original.seq,
            comparison=comparison,
        )
        self._show(copied)

    def show(self, page: Page | None) -> None:
        """Show the keeper what the native data plane has made and counted, which is lower than all numbers to come."""
        if page is None or self._keeper is None:
            return
        try:
            self._keeper.extend(page)
        except Exception:
            _log.exception("who keeps records failed on a page")

    def _next(self) -> int:
        earlier, number = self._numbers.next()
        # Readers count on the order: a journal's segments say from which number to which they go.
        self.show(earlier)
        return number

    def _show(self, record: Record) -> None:
        for read in self._readers:
            try:
                read(record)
            except Exception:
                # One reader's trouble must not become the caller's, nor keep the others from reading.
                _log.exception("a reader of records failed", reader=getattr(read, "__qualname__", repr(read)))
