"""The native data plane, as the control plane drives it: what it is told, as JSON, and what it tells."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from turnout_server.config import LimitsConfig
from turnout_server.engine import snapshot
from turnout_server.engine.copies import Answered, Dropped, copies
from turnout_server.engine.records import Ended, ended
from turnout_server.engine.tracing import Sampling
from turnout_server.instruments.instruments import REQUEST_BOUNDS_NS, RUN_BOUNDS_NS
from turnout_server.routing.view import View
from turnout_server.scheduling.admission import Bounded, Bounds
from turnout_server.scheduling.batcher import Rules
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.versions import VersionKey

if TYPE_CHECKING:
    import turnout_engine

COPIES = 1024
"""Copies of requests that may wait in the engine until fewer than `limits.mirrors_in_flight` are under way."""
_NS = 1e9


class Terms(NamedTuple):
    """How a version's requests are put together, and what is known of its runs."""

    number: int
    """What the version is called in this process."""
    key: VersionKey
    signature: Signature
    batched: bool
    """Whether requests may run together."""
    measured: Mapping[int, int]
    """Run times in nanoseconds, by number of rows."""
    rules: Rules
    room: Bounded
    """Counts what waits for it: one that `EnginePlane.room` has made."""
    task: Task = Task.TENSORS
    run_timeout_s: float = 30.0
    """How long a run may take."""
    queue_wait_s: float = 0.05
    """How long a request may have to wait for its run, as estimated."""
    queue_requests: int = 64
    """How many may wait however long that takes."""
    needs: Mapping[int, int] = {}
    """What runs took of memory in bytes, by number of rows."""


class NativeServable(NamedTuple):
    """A version that the engine can answer for."""

    id: int
    """Its version's number in this process."""
    key: VersionKey
    inner: turnout_engine.Servable

    @property
    def holds(self) -> int:
        """How many requests and runs of it there are in the engine."""
        return self.inner.holds

    @property
    def timed_out(self) -> int:
        """How many runs were ended since they took too long."""
        return self.inner.timed_out


class EnginePlane:
    """The engine's data plane. The event loop's thread only; no method waits."""

    def __init__(
        self,
        limits: LimitsConfig,
        runs: int,
        threads: int,
        boot: str,
        *,
        most_records: int = 0,
        tracing: Sampling | None = None,
        answers_as_sent: bool = False,
    ) -> None:
        """Make a plane that serves nothing yet.

        Args:
            limits: how much may wait, and how many calls be in progress, in the whole process.
            runs: how many runs of one version may be under way in threads at once, if it alone has work.
            threads: how many of all versions together.
            boot: what this start of the process is called.
            most_records: how many records may wait for us; 0 where nobody wants them, but only what they come to.
            tracing: which calls are traced; None for none.
            answers_as_sent: whether typed requests are answered in their own form, which only Python does.
        """
        settings = {
            "concurrent_calls": limits.concurrent_calls,
            "queue_total_rows": limits.queue_total_rows,
            "queue_total_bytes": limits.queue_total_bytes,
            "runs": runs,
            "threads": threads,
            "boot": boot,
            "most_records": most_records,
            "answers_as_sent": answers_as_sent,
            "copies": max(COPIES, limits.mirrors_in_flight),
            "copies_bytes": limits.queue_total_bytes,
            "request_bounds_ns": REQUEST_BOUNDS_NS,
            "run_bounds_ns": RUN_BOUNDS_NS,
            "tracing": None if tracing is None else tracing._asdict(),
        }
        # Here and not above: the engine is an extra, and the gateway is imported without it too.
        import turnout_engine

        self._make_servable = turnout_engine.Servable
        self._make_room: Callable[[int, int], Bounded] = turnout_engine.Room
        self.write_segment = turnout_engine.write_segment
        """Writes a journal's files; see `turnout_server.journal.segments.Write`."""
        self.inner = turnout_engine.Plane(msgspec.json.encode(settings))
        """What the transport hands calls to."""
        self.traces = tracing is not None
        """Whether it makes spans, if any are wanted."""
        self.total: Bounded = self.inner.total
        """Counts what waits for all versions, wherever it does."""

    def room(self, bounds: Bounds) -> Bounded:
        """Return what counts what waits for a version, wherever it does."""
        return self._make_room(bounds.rows, bounds.nbytes)

    def servable(self, terms: Terms, session: Any) -> NativeServable:
        """Return what answers for a version.

        Args:
            terms: how.
            session: its `turnout_engine.Session`.
        """
        rules = terms.rules
        settings = {
            "id": terms.number,
            "model": terms.key.model,
            "version": terms.key.version,
            "task": terms.task,
            "batched": terms.batched,
            "measured": list(terms.measured.items()),
            "needs": list(terms.needs.items()),
            "max_rows": rules.max_rows,
            "max_delay_ns": round(rules.max_delay_s * _NS),
            "inline_below_ns": _finite(rules.inline_below_ns),
            "parallel": rules.parallel,
            "queue_wait_s": _finite(terms.queue_wait_s),
            "queue_requests": terms.queue_requests,
            "run_timeout_ns": round(terms.run_timeout_s * _NS),
        }
        signature = snapshot.signature(terms.signature)
        room: Any = terms.room
        inner = self._make_servable(self.inner, msgspec.json.encode(settings), signature, session, room)
        return NativeServable(terms.number, terms.key, inner)

    def serve(self, view: View, stored: Collection[str], servables: Iterable[NativeServable]) -> None:
        """Answer by *view* from now on.

        Args:
            view: the route table, and the version that each label gets.
            stored: the names of the store's models.
            servables: the versions that can answer.
        """
        loaded = list(servables)
        available: dict[str, list[int]] = {}
        for each in loaded:
            available.setdefault(each.key.model, []).append(each.key.version)
        self.inner.serve(snapshot.names(view, stored, available), [each.inner for each in loaded])

    def ended(self) -> Ended:
        """Return what has ended since this or `number` was asked."""
        return ended(self.inner.ended())

    def count_in(self, file: Path, offset: int) -> None:
        """Keep the number of the next end in a file that outlives the process.

        Args:
            file: memory that is called a file.
            offset: of the eight bytes, little-endian.

        Raises:
            OSError: it cannot be opened.
        """
        self.inner.count_in(str(file), offset)

    def number(self) -> tuple[Ended, int]:
        """Return what has ended likewise, and the number of the next end, which is taken."""
        told, number = self.inner.number()
        return ended(told), number

    def copies(self, most: int) -> tuple[list[Answered], list[Dropped]]:
        """Return the oldest requests that need *most* copies, or one that needs more, and the copies dropped since."""
        return copies(self.inner.copies(most))

    def spans(self, rest: bool) -> tuple[int, bytes] | None:
        """Return the oldest spans; see `turnout_server.engine.tracing.Take`. Any thread may ask."""
        return self.inner.spans(rest=rest)

    @property
    def spans_lost(self) -> int:
        """How many spans were lost since too many waited."""
        return self.inner.spans_lost

    def close(self) -> None:
        """Take no call any more: whoever comes is answered by Python."""
        self.inner.close()

    @property
    def declined(self) -> int:
        """How many calls, and messages of streams, that it could have answered were left to Python."""
        return self.inner.declined

    @property
    def inside(self) -> int:
        """How many calls are in progress in the engine."""
        return self.inner.inside

    @property
    def messages(self) -> int:
        """How many messages of streams are being answered."""
        return self.inner.messages

    def enter(self) -> bool:
        """Count a call in that Python has; return False where there is no room. See `transport.gate.Counts`."""
        return self.inner.enter()

    def leave(self) -> None:
        """Count it out."""
        self.inner.leave()


def _finite(value: float) -> float:
    """Return *value*, or the largest number that JSON can tell of where it is beyond all numbers."""
    return min(value, sys.float_info.max)
