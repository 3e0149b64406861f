"""Keeps the native data plane in step: it is told what is served, and its requests' ends reach everybody who reads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import structlog

from turnout_server.engine.plane import EnginePlane, NativeServable, Terms
from turnout_server.engine.records import Ended
from turnout_server.execution.runner import Runner
from turnout_server.gateway.names import LiveNames
from turnout_server.instruments.families import CAUSE, Family, counter
from turnout_server.instruments.instruments import Instruments
from turnout_server.serving.harness import Lease
from turnout_server.serving.manager import Manager
from turnout_server.serving.state import State
from turnout_server.tasks.features import Note, Odd, places
from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.errors import ModelFailedError, TurnoutError
from turnout_server.vocabulary.record import Page
from turnout_server.vocabulary.versions import VersionKey

_log = structlog.get_logger("turnout.native")

EVERY_S = 0.05
"""How often the engine is asked what has ended, in seconds."""
SELDOM_S = 0.25
"""How often at least, where nothing has ended for a while."""
PATIENCE_S = 0.25
"""How long somebody who reads metrics waits for the event loop to do so, in seconds."""
SOON_S = 0.02
"""How long a version that has come may be kept from the engine, in seconds: until then Python answers. It is longer
where there are so many versions that telling the engine takes long."""
_REST = 10


class _Served(NamedTuple):
    """A version that the engine may have requests of."""

    lease: Lease[Runner]
    """Kept until the engine has none of them any more."""
    native: NativeServable | None
    """None for one that the engine cannot serve."""


class NativePlane:
    """Drives the engine's data plane. The event loop's thread only."""

    def __init__(
        self,
        plane: EnginePlane,
        names: LiveNames,
        manager: Manager[Runner],
        instruments: Instruments,
        status_of: Callable[[str], str],
    ) -> None:
        """Make a driver of a plane that serves nothing yet.

        Args:
            plane: what is driven.
            names: what names mean.
            manager: what is loaded.
            instruments: counts calls.
            status_of: returns the gRPC code's name of a request's code.
        """
        self.plane = plane
        self._names = names
        self._manager = manager
        self._instruments = instruments
        self._status_of = status_of
        self.show: Callable[[Page | None], None] = lambda page: None
        """Shows records to who keeps them: `Records.show`, once there is one."""
        self.count_suppressed: Callable[[Decision, int], None] = lambda decision, count: None
        """Told of requests where nobody keeps their records."""
        self.spans_unsent: Callable[[], int] = lambda: 0
        """Says how many of the engine's spans could not be sent, where somebody sends them."""
        self._served: dict[VersionKey, _Served] = {}
        """What is loaded."""
        self._leaving: list[_Served] = []
        """What the engine takes no new requests of."""
        self._runners: dict[int, Runner] = {}
        """Whose runs they are, by the servable's number."""
        self._timed_out: dict[int, int] = {}
        """How many of them are known to have been ended, likewise."""
        self._is_closed = False
        self._due: asyncio.TimerHandle | None = None
        self._took_s = 0.0
        """How long it took to tell the engine what is served, the last time."""
        self._is_quiet = True
        """Whether nothing has ended since `follow` asked."""
        instruments.in_flight_elsewhere = lambda: plane.inside
        instruments.include(self)
        manager.subscribe(lambda status, error: self._version_changed(status.state))
        names.subscribe(self.publish)

    # ------------------------------------------------------------ what is served

    def publish(self) -> None:
        """Tell the engine what is served now."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._is_closed:
            return
        began = time.perf_counter()
        served: dict[VersionKey, _Served] = {}
        for status in self._manager.status():
            runner = self._manager.peek(status.key) if status.state is State.AVAILABLE else None
            if runner is not None and runner.predictor.native is not None:
                # One that was loaded anew is another: its last one has left before.
                known = self._served.pop(status.key, None)
                served[status.key] = known if known is not None else self._made(status.key, runner)
        self._leaving.extend(self._served.values())
        self._served = served
        loaded = [each.native for each in served.values() if each.native is not None]
        self.plane.serve(self._names.view, self._names.stored_models(), loaded)
        self._took_s = time.perf_counter() - began
        if self._leaving:
            self.catch_up()

    def _version_changed(self, state: State) -> None:
        loop = asyncio.get_running_loop()
        if state is State.UNLOADING:
            loop.call_soon(self._publish_due)  # its memory is waited for
        if self._due is None:
            # A thousand models that load one after the other must not keep this thread busy with telling of each.
            self._due = loop.call_later(max(SOON_S, _REST * self._took_s), self._publish_due)

    def _publish_due(self) -> None:
        if self._due is not None:  # else somebody else was faster
            self.publish()

    def _made(self, key: VersionKey, runner: Runner) -> _Served:
        lease = self._manager.lease(key)
        task = runner.manifest.task
        learnt = runner.costs.learnt()
        terms = Terms(runner.number, key, runner.signature, runner.batched, learnt, runner.rules, runner.room, task)
        terms = terms._replace(
            run_timeout_s=runner.run_timeout_s,
            queue_wait_s=runner.queue_wait_s,
            queue_requests=runner.queue_requests,
            needs=runner.needs,
        )
        try:
            servable = self.plane.servable(terms, runner.predictor.native)
        except Exception:
            # One version's trouble must not keep the others, and what comes and goes, from the engine.
            _log.exception("version is left to Python", model=key.model, version=key.version)
            return _Served(lease, None)
        self._runners[servable.id] = runner
        self._timed_out[servable.id] = 0
        return _Served(lease, servable)

    def _idle(self) -> list[_Served]:
        """Return what leaves and has no request or run any more."""
        return [each for each in self._leaving if each.native is None or not each.native.holds]

    def _let_go(self, idle: Sequence[_Served]) -> None:
        """Let versions be unloaded, whose last runs have been counted."""
        for each in idle:
            self._leaving.remove(each)
            if each.native is not None:
                del self._runners[each.native.id], self._timed_out[each.native.id]
            each.lease.release()

    def close(self) -> None:
        """Count what has ended, and let go of all versions. No call may come any more."""
        self._is_closed = True
        try:
            self.catch_up()
        finally:
            self._leaving.extend(self._served.values())
            self._served = {}
            self._let_go(list(self._leaving))

    def families(self) -> tuple[Family, ...]:
        """Return the metrics of the engine itself."""
        lost = [(("no_room",), self.plane.spans_lost), (("unsent",), self.spans_unsent())]
        return (
            counter("turnout.engine.declined", "{call}", _DECLINED, (), [((), self.plane.declined)]),
            counter("turnout.engine.spans.lost", "{span}", _LOST, (CAUSE,), lost),
        )

    # ------------------------------------------------------------ what has ended

    def next(self) -> tuple[Page | None, int]:
        """See `turnout_server.gateway.records.Numbers.next`."""
        ended, number = self.plane.number()
        return self._counted(ended), number

    async def follow(self) -> None:
        """Show what has ended, again and again and whenever metrics are read, until cancelled."""
        loop, thread = asyncio.get_running_loop(), threading.get_ident()
        self._instruments.before_reading = partial(_on_thread, loop, thread, self.catch_up)
        wait_s = EVERY_S
        while True:
            await asyncio.sleep(wait_s)
            try:
                self.catch_up()
            except Exception:
                _log.exception("what the engine told could not be counted")
            wait_s = min(wait_s * 2, SELDOM_S) if self._is_quiet and not self._leaving else EVERY_S
            self._is_quiet = True

    def catch_up(self) -> None:
        """Count and show what has ended until now, and let go of versions that were waited for."""
        idle = self._idle()
        try:
            self.show(self._counted(self.plane.ended()))
            self._count_timed_out()
            self._count_features()
        finally:
            self._let_go(idle)

    def _count_timed_out(self) -> None:
        for each in (*self._served.values(), *self._leaving):
            if each.native is not None and (more := each.native.timed_out - self._timed_out[each.native.id]):
                self._timed_out[each.native.id] += more
                self._runners[each.native.id].note_timed_out(more)

    def _count_features(self) -> None:
        for each in (*self._served.values(), *self._leaving):
            if each.native is not None:
                rows, odd = each.native.inner.take_notes()
                if rows:
                    runner = self._runners[each.native.id]
                    names = places(runner.signature) if odd else ()
                    runner.note_features(rows, [Note(names[place], Odd(kind), count) for place, kind, count in odd])

    def _counted(self, ended: Ended) -> Page | None:
        self._is_quiet = self._is_quiet and not any(ended)
        for servable, runs in ended.runs:
            runner = self._runners.get(servable)
            if runner is not None:
                runner.include(runs)
        for method, told, requests in ended.requests:
            self._instruments.include_requests(requests)
            self.count_suppressed(requests.decision, requests.took.observations)
            if method in _STREAMS:  # Python has counted the call
                self._instruments.record_message(method, self._status_of(told), requests.took.observations)
            else:
                self._instruments.include_rpcs(method, self._status_of(told), requests.took)
        for method, code, problem, model, version, context in ended.problems:
            if code in _OURS:
                ids = {} if context is None else dict(zip(("trace_id", "span_id"), context, strict=True))
                whose = {"model": model, "version": version}
                _log.error("call failed", method=method, reason=code, problem=problem, **whose, **ids)
        return ended.page


def _on_thread(loop: asyncio.AbstractEventLoop, thread: int, deed: Callable[[], None]) -> None:
    """Do something on the event loop's *thread*: called there, at once; from another thread, and waited for."""
    if threading.get_ident() == thread:
        deed()
        return
    done = threading.Event()

    def perform() -> None:
        try:
            deed()
        finally:
            done.set()

    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(perform)
        done.wait(PATIENCE_S)


_DECLINED = "Inferences, calls and messages of streams, that the engine left to Python, which answered or refused them."
_LOST = "Spans of the engine that the collector did not get: too many waited for it, or it did not take them."
_STREAMS = {"inference.GRPCInferenceService/ModelStreamInfer"}
_OURS = {ModelFailedError.reason, TurnoutError.reason}
