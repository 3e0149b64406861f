"""The one way a request is served: decide, lease, prepare, run, record.

The core, `start`, takes a query and a callback and makes no task; `infer` is the shell that awaits it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from functools import partial

from opentelemetry import trace

from turnout_server.execution.runner import Runner
from turnout_server.gateway.flight import Done, Flight, Outcome
from turnout_server.gateway.mirrors import Mirrors
from turnout_server.gateway.records import Records
from turnout_server.gateway.spans import Spans
from turnout_server.routing.decide import Names, decide, unavailable
from turnout_server.serving.manager import Manager
from turnout_server.vocabulary.errors import TurnoutError
from turnout_server.vocabulary.query import Prediction, Query


class DataPlane:
    """Serves queries. The event loop's thread only."""

    def __init__(
        self,
        names: Names,
        manager: Manager[Runner],
        records: Records,
        spans: Spans,
        mirrors: Mirrors | None = None,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Make a data plane.

        Args:
            names: names, as they are now.
            manager: what is loaded.
            records: makes the record of each request's end.
            spans: what traces.
            mirrors: sends the copies that routes ask for; None sends none.
            draw: a source of numbers uniform in [0, 1).
        """
        self._names = names
        self._manager = manager
        self._records = records
        self._spans = spans
        self._mirrors = mirrors
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
            if self._spans.enabled and flight.record is not None:
                self._spans.read(flight.record, trace.get_current_span())
        return outcome.result()

    def start(self, query: Query, done: Done) -> Flight:
        """Set *query* going; *done* is called once, maybe before this returns, unless the flight is cancelled."""
        flight = Flight(self._records, query, done, time.monotonic_ns())
        names = self._names
        try:
            decision = flight.decision = decide(names, query, self._draw())
            if not decision.available:
                raise unavailable(names, decision)
            lease = self._manager.lease(decision.key)
        except TurnoutError as error:
            # Names made up by callers must not become metrics.
            flight.refused(error, query.name if names.table.get(query.name) is not None else "")
            return flight
        if self._mirrors is not None and decision.route:
            route = names.table.require(decision.route)
            if route.mirrors:
                flight.on_answered = partial(self._mirrors.send, query, route)
        flight.depart(lease, self._spans.current())
        return flight
