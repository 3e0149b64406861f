"""Copies of requests, sent to other versions: bounded in number, dropped first when busy, compared, and counted.

Nobody waits for a copy, and nothing that happens to it shows in the answer. Its answer is kept until it was compared
with the one that the caller got.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from turnout_server.execution.runner import Runner
from turnout_server.gateway.records import Records
from turnout_server.instruments.instruments import Instruments
from turnout_server.routing.decide import Names
from turnout_server.routing.route import Mirror
from turnout_server.routing.table import CompiledRoute
from turnout_server.scheduling.copies import has_room
from turnout_server.scheduling.item import LOWEST_PRIORITY, Item
from turnout_server.serving.harness import Lease
from turnout_server.serving.manager import Manager
from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.errors import TurnoutError
from turnout_server.vocabulary.query import Prediction, Query
from turnout_server.vocabulary.record import OK, Comparison, Record, Timing
from turnout_server.vocabulary.tensors import Array, Arrays
from turnout_server.vocabulary.versions import VersionKey

PATIENCE_S = 1.0
"""A copy that has waited this long is not worth running any more."""
COPY_FAILED = "copy_failed"
"""Why there is nothing to compare."""


class Pair(NamedTuple):
    """A request's answer, and its copy's."""

    task: str
    """The route's."""
    original: Arrays
    copy: Arrays
    record: Record
    """The original's."""
    copied: Decision
    """The copy's."""
    mirror: Mirror
    took_ns: int
    """The copy's, from its start to its end."""


Compared = Callable[[Comparison], None]
"""Told, on the event loop's thread, how the two answers of a pair differ."""


class Compares(Protocol):
    """What compares pairs of answers."""

    def offer(self, pair: Pair, then: Compared) -> str:
        """Compare *pair* elsewhere and call *then* once; return why not, or nothing where it will be."""


class Mirrors:
    """The copies of one process. The event loop's thread only."""

    def __init__(
        self,
        names: Names,
        manager: Manager[Runner],
        instruments: Instruments,
        records: Records,
        limit: int,
        draw: Callable[[], float],
        comparer: Compares | None = None,
    ) -> None:
        """Begin with none.

        Args:
            names: names, as they are now.
            manager: what is loaded.
            instruments: counts outcomes.
            records: makes the record of each copy's end.
            limit: how many copies may be under way at once.
            draw: a source of numbers uniform in [0, 1).
            comparer: compares answers; None compares none.
        """
        self._names = names
        self._manager = manager
        self._instruments = instruments
        self._records = records
        self._limit = limit
        self._draw = draw
        self._comparer = comparer
        self._in_flight = 0

    def send(self, query: Query, route: CompiledRoute, prediction: Prediction, record: Record) -> None:
        """Send the copies that *route* asks for of a *query* that got *prediction*, as *record* says."""
        for mirror in route.mirrors:
            if mirror.fraction >= 1.0 or self._draw() < mirror.fraction:
                outcome = self._send_one(query, route, mirror, prediction, record)
                if outcome is not None:
                    self._count(route, mirror, outcome)

    def _send_one(
        self, query: Query, route: CompiledRoute, mirror: Mirror, prediction: Prediction, record: Record
    ) -> str | None:
        """Send one copy; return its outcome if it is known already."""
        if self._in_flight >= self._limit:
            return "dropped"
        key = self._names.key_of(mirror.model, mirror.version)
        if key is None or not self._names.is_available(key):
            return "failed"
        lease = self._manager.lease(key)
        cheap = lease.servable.is_cheap(record.rows)
        if not has_room(lease.servable.load, cheap=cheap):
            lease.release()
            return "dropped"
        self._in_flight += 1
        return _Copy(self, route, mirror, prediction, record, lease, key).depart(query, inline=cheap)

    def _count(self, route: CompiledRoute, mirror: Mirror, outcome: str) -> None:
        self._instruments.record_mirror(route.name, mirror.model, str(mirror.version), outcome)


class _Copy:
    """One copy under way."""

    __slots__ = ("_decision", "_lease", "_mirror", "_mirrors", "_original", "_prediction", "_route", "_started_ns")

    def __init__(
        self,
        mirrors: Mirrors,
        route: CompiledRoute,
        mirror: Mirror,
        prediction: Prediction,
        original: Record,
        lease: Lease[Runner],
        key: VersionKey,
    ) -> None:
        self._mirrors = mirrors
        self._route = route
        self._mirror = mirror
        self._prediction: Prediction | None = prediction
        self._original = original
        self._lease = lease
        self._decision = prediction.decision._replace(target="", model=key.model, version=key.version)
        self._started_ns = time.monotonic_ns()

    def depart(self, query: Query, *, inline: bool) -> str | None:
        """Hand the copy to its version's runner; return its outcome if it is known already."""
        runner = self._lease.servable
        try:
            inputs = query.prepare(runner.signature)
            runner.submit(
                inputs,
                (),
                time.monotonic() + PATIENCE_S,
                self._ran,
                rows=runner.rows_of(inputs),
                inline=inline,
                priority=LOWEST_PRIORITY,
                together=False,
            )
        except Exception as error:  # whatever is wrong with a copy, nobody is to notice
            self._let_go()
            self._ended(_code_of(error), time.monotonic_ns(), 0, None, Comparison(note=COPY_FAILED))
            return "failed"
        return None

    def _ran(self, item: Item, outputs: list[Array] | None, error: Exception | None, timing: Timing) -> None:
        ended_ns = time.monotonic_ns()
        mirrors = self._mirrors
        names = item.outputs or self._lease.servable.output_names
        self._let_go()
        mirrors._count(self._route, self._mirror, "sent" if error is None else "failed")
        if outputs is None:
            assert error is not None
            self._ended(_code_of(error), ended_ns, item.rows, timing, Comparison(note=COPY_FAILED))
            return
        prediction = self._prediction
        if mirrors._comparer is None or prediction is None:
            self._ended(OK, ended_ns, item.rows, timing, None)
            return
        pair = Pair(
            self._route.route.task,
            prediction.outputs,
            dict(zip(names, outputs, strict=True)),
            self._original,
            self._decision,
            self._mirror,
            ended_ns - self._started_ns,
        )
        # Whoever waits for the comparison must not keep alive what the comparer has made copies of.
        self._prediction = None
        rows = item.rows

        def then(comparison: Comparison) -> None:
            self._ended(OK, ended_ns, rows, timing, comparison)

        why_not = mirrors._comparer.offer(pair, then)
        if why_not:
            then(Comparison(note=why_not))

    def _let_go(self) -> None:
        self._mirrors._in_flight -= 1
        self._lease.release()

    def _ended(self, code: str, ended_ns: int, rows: int, timing: Timing | None, comparison: Comparison | None) -> None:
        self._mirrors._records.copy_ended(
            self._original,
            self._decision,
            code,
            self._started_ns,
            ended_ns,
            rows=rows,
            timing=timing,
            comparison=comparison,
        )


def _code_of(error: BaseException) -> str:
    return error.reason if isinstance(error, TurnoutError) else "INTERNAL"
