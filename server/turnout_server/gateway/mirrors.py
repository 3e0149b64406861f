"""Copies of requests, sent to other versions: bounded in number, dropped first when busy, compared, and counted.

Nobody waits for a copy, and nothing that happens to it shows in the answer. A copy waits for a moment in which it takes
nothing from a request; where none comes, it is dropped. Its answer is kept until it was compared with the one that the
caller got.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
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
from turnout_server.vocabulary.query import Prediction, Prepare, Query
from turnout_server.vocabulary.record import CANCELLED, OK, Comparison, Record, Timing, code_of
from turnout_server.vocabulary.tensors import Array, Arrays, told_apart
from turnout_server.vocabulary.versions import VersionKey

PATIENCE_S = 1.0
"""A copy that has waited this long is not worth running any more, in seconds."""
RETRY_S = 0.005
"""How often copies that wait are looked at, in seconds."""
COPY_FAILED = "copy_failed"
"""Why there is nothing to compare."""


class Pair(NamedTuple):
    """A request's answer, and its copy's."""

    task: str
    """The route's."""
    original: Arrays
    """BF16 as `BF16_BITS`, in both."""
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


class _Waiting(NamedTuple):
    """A copy before it is sent."""

    prepare: Prepare
    route: CompiledRoute
    mirror: Mirror
    outputs: Arrays
    """The original's, BF16 as `BF16_BITS`."""
    record: Record
    until: float
    """On the clock of `time.monotonic`, in seconds."""


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
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Begin with none.

        Args:
            names: names, as they are now.
            manager: what is loaded.
            instruments: counts outcomes.
            records: makes the record of each copy's end.
            limit: how many copies may wait or run at once.
            draw: a source of numbers uniform in [0, 1).
            comparer: compares answers; None compares none.
            patience_s: how long a copy may wait for a moment in which it is in nobody's way, in seconds.
        """
        self._names = names
        self._manager = manager
        self._instruments = instruments
        self._records = records
        self._limit = limit
        self._draw = draw
        self._comparer = comparer
        self._patience_s = patience_s
        self._running: set[_Copy] = set()
        self._is_closed = False
        self._waiting: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def send(self, query: Query, route: CompiledRoute, prediction: Prediction, record: Record) -> None:
        """Send the copies that *route* asks for of a *query* that got *prediction*, as *record* says."""
        outputs = told_apart(prediction.outputs, prediction.signature.bf16_outputs)
        for mirror in route.mirrors:
            if mirror.fraction >= 1.0 or self._draw() < mirror.fraction:
                self.send_one(query.prepare, route, mirror, outputs, record)

    def send_one(self, prepare: Prepare, route: CompiledRoute, mirror: Mirror, outputs: Arrays, record: Record) -> None:
        """Send one copy, which was drawn, of a request that got *outputs*, as *record* says; BF16 as `BF16_BITS`."""
        waiting = _Waiting(prepare, route, mirror, outputs, record, time.monotonic() + self._patience_s)
        if self._is_closed or not self.room:
            self.drop(route, mirror)
        elif not self._start(waiting):
            self._wait(waiting)

    def drop(self, route: CompiledRoute, mirror: Mirror) -> None:
        """Count a copy that there was no room for."""
        self._count(route, mirror, "dropped")

    @property
    def room(self) -> int:
        """How many copies may be sent before one is dropped."""
        return max(0, self._limit - len(self._running) - len(self._waiting))

    def close(self) -> None:
        """Drop what waits and send nothing more; what runs goes on for nobody, and its record is made now.

        Afterwards nobody may be there to read records.
        """
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            copy = self._waiting.popleft()
            self.drop(copy.route, copy.mirror)
        for running in list(self._running):
            running.abandon()

    def _start(self, copy: _Waiting) -> bool:
        """Start a copy, or settle that it cannot be sent; return False where it would be in somebody's way now."""
        prepare, route, mirror, outputs, record, _ = copy
        key = self._names.key_of(mirror.model, mirror.version)
        if key is None or not self._names.is_available(key):
            self._count(route, mirror, "failed")
            return True
        if record.decision is not None and key == record.decision.key:  # it would say nothing that the answer does not
            self._count(route, mirror, "same")
            return True
        lease = self._manager.lease(key)
        cheap = lease.servable.is_cheap(record.rows)
        if not has_room(lease.servable.load, cheap=cheap):
            lease.release()
            return False
        _Copy(self, route, mirror, outputs, record, lease, key).depart(prepare, inline=cheap)
        return True

    def _wait(self, copy: _Waiting) -> None:
        """Keep a copy until nobody is in its way, or its time has passed."""
        if self._patience_s <= 0.0:
            self.drop(copy.route, copy.mirror)
            return
        self._waiting.append(copy)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RETRY_S, self._look)

    def _look(self) -> None:
        """Start what waits and can start; drop what has waited too long."""
        self._timer = None
        now = time.monotonic()
        for _ in range(len(self._waiting)):
            copy = self._waiting.popleft()
            if now >= copy.until:
                self.drop(copy.route, copy.mirror)
            elif not self._start(copy):
                self._waiting.append(copy)
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(RETRY_S, self._look)

    def _count(self, route: CompiledRoute, mirror: Mirror, outcome: str) -> None:
        self._instruments.record_mirror(route.name, mirror.model, str(mirror.version), outcome)


class _Copy:
    """One copy under way."""

    __slots__ = (
        "_decision",
        "_is_abandoned",
        "_lease",
        "_mirror",
        "_mirrors",
        "_original",
        "_outputs",
        "_route",
        "_started_ns",
    )

    def __init__(
        self,
        mirrors: Mirrors,
        route: CompiledRoute,
        mirror: Mirror,
        outputs: Arrays,
        original: Record,
        lease: Lease[Runner],
        key: VersionKey,
    ) -> None:
        self._mirrors = mirrors
        self._route = route
        self._mirror = mirror
        self._outputs: Arrays | None = outputs
        self._original = original
        self._lease = lease
        assert original.decision is not None
        self._decision = original.decision._replace(target="", model=key.model, version=key.version)
        self._started_ns = time.monotonic_ns()
        self._is_abandoned = False
        mirrors._running.add(self)

    def abandon(self) -> None:
        """End as failed, because the gateway does; what runs holds its version until it is done."""
        self._is_abandoned = True
        self._mirrors._count(self._route, self._mirror, "failed")
        self._ended(CANCELLED, time.monotonic_ns(), 0, None, Comparison(note=COPY_FAILED))

    def depart(self, prepare: Prepare, *, inline: bool) -> None:
        """Hand the copy to its version's runner."""
        runner = self._lease.servable
        try:
            inputs = prepare(runner.signature)
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
            self._mirrors._count(self._route, self._mirror, "failed")
            self._ended(code_of(error), time.monotonic_ns(), 0, None, Comparison(note=COPY_FAILED))

    def _ran(self, item: Item, outputs: list[Array] | None, error: Exception | None, timing: Timing) -> None:
        ended_ns = time.monotonic_ns()
        mirrors = self._mirrors
        runner = self._lease.servable
        names = item.outputs or runner.output_names
        self._let_go()
        if self._is_abandoned:
            return
        mirrors._count(self._route, self._mirror, "sent" if error is None else "failed")
        if outputs is None:
            assert error is not None
            self._ended(code_of(error), ended_ns, item.rows, timing, Comparison(note=COPY_FAILED))
            return
        original = self._outputs
        if mirrors._comparer is None or original is None:
            self._ended(OK, ended_ns, item.rows, timing, None)
            return
        pair = Pair(
            self._route.route.task,
            original,
            told_apart(dict(zip(names, outputs, strict=True)), runner.signature.bf16_outputs),
            self._original,
            self._decision,
            self._mirror,
            ended_ns - self._started_ns,
        )
        # Whoever waits for the comparison must not keep alive what the comparer has made copies of.
        self._outputs = None
        rows = item.rows

        def then(comparison: Comparison) -> None:
            self._ended(OK, ended_ns, rows, timing, comparison)

        why_not = mirrors._comparer.offer(pair, then)
        if why_not:
            then(Comparison(note=why_not))

    def _let_go(self) -> None:
        self._mirrors._running.discard(self)
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
