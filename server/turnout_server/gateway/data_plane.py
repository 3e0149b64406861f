"""The one way a request is served: assign, lease, prepare, run, record.

The core, `start`, takes a query and a callback and makes no task; `infer` is the shell that awaits it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from opentelemetry import trace

from turnout_server.execution.runner import Runner
from turnout_server.gateway.flight import Done, Flight, Outcome
from turnout_server.gateway.mirrors import Mirrors
from turnout_server.gateway.spans import Spans
from turnout_server.gateway.view import View
from turnout_server.instruments.instruments import Instruments
from turnout_server.routing.route import Target
from turnout_server.routing.table import CompiledRoute
from turnout_server.serving.harness import Lease
from turnout_server.serving.manager import Manager
from turnout_server.serving.state import State
from turnout_server.vocabulary.decision import Reason, Served
from turnout_server.vocabulary.errors import (
    LabelNotFoundError,
    ModelNotFoundError,
    RouteNotFoundError,
    TaskMismatchError,
    TurnoutError,
    VersionNotFoundError,
    VersionUnavailableError,
)
from turnout_server.vocabulary.names import is_version_number
from turnout_server.vocabulary.query import Prediction, Query
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.versions import VersionKey, resolve


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
        self._mirrors = Mirrors(manager, instruments, self._key_of, mirrors_in_flight, draw)
        self._draw = draw

    async def infer(self, query: Query) -> Prediction:
        """Serve *query*.

        Raises:
            TurnoutError: whatever kept it from being served.
            asyncio.CancelledError: the caller has gone; a request that still waited has left the queue.
        """
        outcome = Outcome()
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
        flight = Flight(self._instruments, query, done, time.monotonic_ns())
        try:
            route = self._route_of(query)
            lease, served = self._pinned(query) if route is None else self._assigned(query, route)
        except TurnoutError as error:
            flight.refused(self._known_route(query.name), error)
            return flight
        if route is not None and route.mirrors:
            flight.on_answered = partial(self._mirrors.send, query, route)
        flight.depart(lease, served, self._spans.current())
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
        key = self._key_of(target.model, target.version)
        if key is None:
            raise VersionUnavailableError(target.model, target.version, "no such label")
        return self._manager.lease(key), Served(route.name, target.name, key.model, key.version, reason)

    def _key_of(self, model: str, selector: int | str) -> VersionKey | None:
        return self._directory.view.key_of(model, selector)

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
