"""The one way a request is served: assign, lease, prepare, run, record.

The core, `start`, takes a query and a callback and makes no task; `infer` is the shell that awaits it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from opentelemetry import trace

from turnout_server.errors import (
    LabelNotFoundError,
    ModelNotFoundError,
    RouteNotFoundError,
    TaskMismatchError,
    TurnoutError,
    VersionNotFoundError,
    VersionUnavailableError,
)
from turnout_server.gateway.instruments import Instruments
from turnout_server.gateway.query import Prediction, Query, Served, Timing
from turnout_server.gateway.runner import Runner, outputs_wanted
from turnout_server.gateway.spans import Spans
from turnout_server.gateway.view import View
from turnout_server.names import is_version_number
from turnout_server.routing.route import Mirror, Reason, Target
from turnout_server.routing.table import CompiledRoute
from turnout_server.scheduling.batcher import Item
from turnout_server.serving.harness import Lease
from turnout_server.serving.manager import Manager
from turnout_server.serving.source import resolve
from turnout_server.serving.state import State, VersionKey
from turnout_server.store.manifest import Task
from turnout_server.tensors import Array

Done = Callable[[Prediction | None, Exception | None], None]
MIRROR_PATIENCE_S = 1.0
"""A copy that has waited this long is not worth running any more."""


class Directory(Protocol):
    """What the data plane needs to know about names."""

    @property
    def view(self) -> View:
        """What routes and labels mean now."""

    def stored_versions(self, model: str) -> Sequence[int]:
        """Return the versions that the store has of *model*; empty when there is no such model."""


class DataPlane:
    """Serves queries. The event loop's thread only."""

    def __init__(
        self,
        directory: Directory,
        manager: Manager[Runner],
        instruments: Instruments,
        spans: Spans,
        *,
        mirrors_in_flight: int = 16,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Make a data plane.

        Args:
            directory: names, as they are now.
            manager: what is loaded.
            instruments: what counts.
            spans: what traces.
            mirrors_in_flight: how many copies may be under way at once.
            draw: a source of numbers uniform in [0, 1).
        """
        self._directory = directory
        self._manager = manager
        self._instruments = instruments
        self._spans = spans
        self._max_mirrors = mirrors_in_flight
        self._mirrors = 0
        self._draw = draw

    async def infer(self, query: Query) -> Prediction:
        """Serve *query*.

        Raises:
            TurnoutError: whatever kept it from being served.
            asyncio.CancelledError: the caller has gone; a request that still waited has left the queue.
        """
        outcome = _Outcome()
        flight = self.start(query, outcome.settle)
        try:
            if not outcome.settled:
                await outcome.wait()
        except asyncio.CancelledError:
            flight.cancel()
            raise
        finally:
            if self._spans.enabled and flight.served is not None:
                self._spans.annotate(trace.get_current_span(), flight.served, flight.timing)
        return outcome.result()

    def start(self, query: Query, done: Done) -> Flight:
        """Set *query* going; *done* is called once, maybe before this returns, unless the flight is cancelled."""
        flight = Flight(self._instruments, query, done, time.perf_counter_ns())
        try:
            route = self._route_of(query)
            lease, served = self._pinned(query) if route is None else self._assigned(query, route)
        except TurnoutError as error:
            flight.refused(self._known_route(query.name), error)
            return flight
        if route is not None and route.mirrors:
            flight.on_answered = lambda: self._send_mirrors(query, route)
        flight.depart(lease, served)
        return flight

    # ------------------------------------------------------------ who answers

    def _route_of(self, query: Query) -> CompiledRoute | None:
        return None if query.version else self._directory.view.table.get(query.name)

    def _known_route(self, name: str) -> str:
        """Return *name* if it is a route's, so that names made up by callers do not become metrics."""
        return name if self._directory.view.table.get(name) is not None else ""

    def _assigned(self, query: Query, route: CompiledRoute) -> tuple[Lease[Runner], Served]:
        if query.task is not None and route.route.task != query.task:
            raise TaskMismatchError(route.name, route.route.task, query.task)
        _, target, reason, _ = route.assign(query.unit, query.headers, self._draw())
        try:
            return self._lease_target(route, target, reason)
        except VersionUnavailableError:
            if route.fallback is None or route.fallback is target:
                raise
        return self._lease_target(route, route.fallback, Reason.FALLBACK)

    def _lease_target(self, route: CompiledRoute, target: Target, reason: Reason) -> tuple[Lease[Runner], Served]:
        key = self._directory.view.key_of(target.model, target.version)
        if key is None:
            raise VersionUnavailableError(target.model, target.version, "no such label")
        return self._manager.lease(key), Served(route.name, target.name, key.model, key.version, reason)

    def _pinned(self, query: Query) -> tuple[Lease[Runner], Served]:
        key = self.pinned_key(query.name, query.version)
        lease = self._manager.lease(key)
        task = lease.servable.manifest.task
        if query.task is not None and task != query.task:
            lease.release()
            raise TaskMismatchError(query.name, "" if task is Task.TENSORS else task, query.task)
        return lease, Served("", "", key.model, key.version, Reason.PINNED)

    def pinned_key(self, name: str, version: str) -> VersionKey:
        """Return the version that a request for a model, or for a route with a version, means.

        Raises:
            RouteNotFoundError, VersionNotFoundError, LabelNotFoundError: there is no such thing.
            VersionUnavailableError: a bare model of which no version is available.
        """
        model = self._model_of(name)
        stored = self._directory.stored_versions(model)
        if not version:
            newest = self._manager.latest(model)
            if not newest:
                if not stored:
                    raise RouteNotFoundError(name)
                raise VersionUnavailableError(model, stored[-1], self._state_of(VersionKey(model, stored[-1])))
            return VersionKey(model, newest)
        if is_version_number(version):
            key = VersionKey(model, int(version[:18]))
            if key.version not in stored and not self._manager.is_available(key):
                raise VersionNotFoundError(model, version[:32])
            return key
        labelled = resolve(model, version, self._directory.view.labels)
        if labelled is None:
            raise LabelNotFoundError(model, version[:64])
        return labelled

    def _model_of(self, name: str) -> str:
        """Return the model called *name*, or the only model of the route called so."""
        if self._directory.stored_versions(name) or self._manager.latest(name):
            return name
        route = self._directory.view.table.get(name)
        if route is None:
            raise RouteNotFoundError(name)
        models = {target.model for target in route.route.targets}
        if len(models) > 1:
            raise ModelNotFoundError(name)
        return models.pop()

    def _state_of(self, key: VersionKey) -> str:
        status = self._manager.status_of(key)
        if status is None:
            return State.STORED.value
        return f"{status.state.value} ({status.detail})" if status.detail else status.state.value

    # ------------------------------------------------------------ mirrors

    def _send_mirrors(self, query: Query, route: CompiledRoute) -> None:
        for mirror in route.mirrors:
            if mirror.fraction >= 1.0 or self._draw() < mirror.fraction:
                outcome = self._send_mirror(query, route, mirror)
                if outcome is not None:
                    self._instruments.record_mirror(route.name, mirror.model, str(mirror.version), outcome)

    def _send_mirror(self, query: Query, route: CompiledRoute, mirror: Mirror) -> str | None:
        """Send one copy; return its outcome if it is known already."""
        if self._mirrors >= self._max_mirrors:
            return "dropped"
        key = self._directory.view.key_of(mirror.model, mirror.version)
        if key is None or not self._manager.is_available(key):
            return "failed"
        lease = self._manager.lease(key)
        if lease.servable.busy:
            lease.release()
            return "dropped"

        def ran(item: Item, outputs: list[Array] | None, error: Exception | None, timing: Timing) -> None:
            self._mirrors -= 1
            lease.release()
            outcome = "sent" if error is None else "failed"
            self._instruments.record_mirror(route.name, mirror.model, str(mirror.version), outcome)

        self._mirrors += 1
        try:
            inputs = query.prepare(lease.servable.signature)
            lease.servable.submit(inputs, (), time.monotonic() + MIRROR_PATIENCE_S, ran, inline=False)
        except Exception:  # whatever is wrong with a copy, nobody is to notice
            self._mirrors -= 1
            lease.release()
            return "failed"
        return None


class Flight:
    """One query under way."""

    __slots__ = (
        "_done",
        "_input_ns",
        "_instruments",
        "_item",
        "_lease",
        "_query",
        "_started_ns",
        "on_answered",
        "served",
        "timing",
    )

    def __init__(self, instruments: Instruments, query: Query, done: Done, started_ns: int) -> None:
        self._instruments = instruments
        self._query = query
        self._done = done
        self._started_ns = started_ns
        self._input_ns = 0
        self._lease: Lease[Runner] | None = None
        self._item: Item | None = None
        self.served: Served | None = None
        """Known once a target was found."""
        self.timing: Timing | None = None
        """Known once the query has run or expired."""
        self.on_answered: Callable[[], None] | None = None

    def refused(self, route: str, error: TurnoutError) -> None:
        """End before a target was found."""
        self._instruments.record_refused(route, error.reason)
        self._done(None, error)

    def depart(self, lease: Lease[Runner], served: Served) -> None:
        """Prepare the inputs and hand them to the version's runner."""
        self._lease, self.served = lease, served
        runner = lease.servable
        started = time.perf_counter_ns()
        try:
            outputs = outputs_wanted(runner, self._query.outputs)
            inputs = self._query.prepare(runner.signature)
            self._input_ns = time.perf_counter_ns() - started
            item = runner.submit(inputs, outputs, self._query.deadline, self._ran)
        except Exception as error:
            self._end(None, error)
        else:
            if self._lease is not None:
                self._item = item

    def cancel(self) -> None:
        """Give up. A request that already runs ends as usual, but nobody is told."""
        self._done = _nobody
        self.on_answered = None
        lease = self._lease
        if lease is not None and self._item is not None and lease.servable.cancel(self._item):
            self._end(None, asyncio.CancelledError())

    def _ran(self, item: Item, outputs: list[Array] | None, error: Exception | None, timing: Timing) -> None:
        self.timing = timing
        if outputs is None:
            self._end(None, error)
            return
        lease, served = self._lease, self.served
        assert lease is not None
        assert served is not None
        timing = self.timing = timing._replace(compute_input_ns=timing.compute_input_ns + self._input_ns)
        named = dict(zip(item.outputs, outputs, strict=True))
        self._count(lease.servable, item, timing)
        self._end(Prediction(named, served, lease.servable.signature, timing), None)

    def _count(self, runner: Runner, item: Item, timing: Timing) -> None:
        statistics = runner.statistics
        statistics.inference_count += item.rows
        statistics.queue.add(timing.queue_ns)
        statistics.compute_input.add(timing.compute_input_ns)
        statistics.compute_infer.add(timing.compute_infer_ns)
        statistics.compute_output.add(timing.compute_output_ns)

    def _end(self, prediction: Prediction | None, error: BaseException | None) -> None:
        lease, served = self._lease, self.served
        assert lease is not None
        assert served is not None
        statistics = lease.servable.statistics
        took_ns = time.perf_counter_ns() - self._started_ns
        if error is None:
            statistics.success.add(took_ns)
            statistics.last_inference_ms = time.time_ns() // 1_000_000
            code = "OK"
        else:
            statistics.fail.add(took_ns)
            code = _code_of(error)
        self._instruments.record(served, code, took_ns)
        lease.release()
        # The item knows this flight: holding on to it would keep the arrays until the garbage collector comes by.
        self._lease = self._item = None
        self._done(prediction, error)  # type: ignore[arg-type]
        if self.on_answered is not None and error is None:
            # After the answer is on its way: the transport writes it in this turn of the loop.
            asyncio.get_running_loop().call_soon(self.on_answered)


def _code_of(error: BaseException) -> str:
    if isinstance(error, TurnoutError):
        return error.reason
    return "CANCELLED" if isinstance(error, asyncio.CancelledError) else "INTERNAL"


def _nobody(prediction: Prediction | None, error: Exception | None) -> None:
    """Nobody waits for this answer any more."""


class _Outcome:
    """What became of a query; a future is made only for one that did not end at once."""

    __slots__ = ("_error", "_future", "_prediction", "settled")

    def __init__(self) -> None:
        self.settled = False
        self._prediction: Prediction | None = None
        self._error: Exception | None = None
        self._future: asyncio.Future[None] | None = None

    def settle(self, prediction: Prediction | None, error: Exception | None) -> None:
        self.settled = True
        self._prediction, self._error = prediction, error
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> None:
        self._future = asyncio.get_running_loop().create_future()
        await self._future

    def result(self) -> Prediction:
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                # Else it would hold this frame, which holds it, and the request with them, as above.
                del error
        assert self._prediction is not None
        return self._prediction
