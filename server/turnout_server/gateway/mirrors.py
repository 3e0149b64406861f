"""Copies of requests, sent to other versions: bounded in number, dropped first when busy, and counted.

Nobody waits for a copy, and nothing that happens to it shows in the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from turnout_server.execution.runner import Runner
from turnout_server.instruments.instruments import Instruments
from turnout_server.routing.route import Mirror
from turnout_server.routing.table import CompiledRoute
from turnout_server.scheduling.item import Item
from turnout_server.serving.manager import Manager
from turnout_server.vocabulary.query import Query
from turnout_server.vocabulary.record import Timing
from turnout_server.vocabulary.tensors import Array
from turnout_server.vocabulary.versions import VersionKey

PATIENCE_S = 1.0
"""A copy that has waited this long is not worth running any more."""

KeyOf = Callable[[str, int | str], VersionKey | None]
"""Returns the version that a mirror's model and selector stand for now."""


class Mirrors:
    """The copies of one process. The event loop's thread only."""

    def __init__(
        self, manager: Manager[Runner], instruments: Instruments, key_of: KeyOf, limit: int, draw: Callable[[], float]
    ) -> None:
        """Begin with none.

        Args:
            manager: what is loaded.
            instruments: counts outcomes.
            key_of: names, as they are now.
            limit: how many copies may be under way at once.
            draw: a source of numbers uniform in [0, 1).
        """
        self._manager = manager
        self._instruments = instruments
        self._key_of = key_of
        self._limit = limit
        self._draw = draw
        self._in_flight = 0

    def send(self, query: Query, route: CompiledRoute) -> None:
        """Send the copies of an answered *query* that *route* asks for."""
        for mirror in route.mirrors:
            if mirror.fraction >= 1.0 or self._draw() < mirror.fraction:
                outcome = self._send_one(query, route.name, mirror)
                if outcome is not None:
                    self._record(route.name, mirror, outcome)

    def _send_one(self, query: Query, route: str, mirror: Mirror) -> str | None:
        """Send one copy; return its outcome if it is known already."""
        if self._in_flight >= self._limit:
            return "dropped"
        key = self._key_of(mirror.model, mirror.version)
        if key is None or not self._manager.is_available(key):
            return "failed"
        lease = self._manager.lease(key)
        if not lease.servable.has_room_for_copies:
            lease.release()
            return "dropped"

        def ran(item: Item, outputs: list[Array] | None, error: Exception | None, timing: Timing) -> None:
            self._in_flight -= 1
            lease.release()
            self._record(route, mirror, "sent" if error is None else "failed")

        self._in_flight += 1
        try:
            inputs = query.prepare(lease.servable.signature)
            lease.servable.submit(inputs, (), time.monotonic() + PATIENCE_S, ran, inline=False)
        except Exception:  # whatever is wrong with a copy, nobody is to notice
            self._in_flight -= 1
            lease.release()
            return "failed"
        return None

    def _record(self, route: str, mirror: Mirror, outcome: str) -> None:
        self._instruments.record_mirror(route, mirror.model, str(mirror.version), outcome)
