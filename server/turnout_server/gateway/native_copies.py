"""Copies of requests that the native data plane has answered: fetched again and again, and sent as all others are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from turnout_server.engine.copies import Answered, Dropped
from turnout_server.engine.plane import EnginePlane
from turnout_server.gateway.mirrors import Mirrors
from turnout_server.gateway.names import LiveNames
from turnout_server.routing.route import Mirror
from turnout_server.routing.table import CompiledRoute, RouteTable
from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.query import Prepare

_log = structlog.get_logger("turnout.native")

EVERY_S = 0.05
"""How often the engine is asked for requests to copy, in seconds."""
SOON_S = 0.005
"""How often while there are some."""
SELDOM_S = 0.25
"""How often while no route has a mirror: a gateway that is idle should be."""
MOST = 64
"""Copies that are fetched at once: the event loop has other things to do, too."""
_TABLES = 16
"""Route tables that requests under way may have been decided by."""


class NativeCopies:
    """Fetches what is to be copied. The event loop's thread only."""

    def __init__(
        self, plane: EnginePlane, names: LiveNames, mirrors: Mirrors, readers: Mapping[str, Callable[[bytes], Prepare]]
    ) -> None:
        """Make one that has fetched nothing yet.

        Args:
            plane: has answered them.
            names: what names mean.
            mirrors: sends the copies.
            readers: by method, how a call's message becomes inputs that fit a signature.
        """
        self._plane = plane
        self._names = names
        self._mirrors = mirrors
        self._readers = readers
        self._tables: dict[str, RouteTable] = {}
        """By digest: a request's mirrors are those of the table that it was decided by."""
        self._are_wanted = False
        """Whether any route has a mirror."""
        names.subscribe(self._note_table)
        self._note_table()

    async def follow(self) -> None:
        """Fetch what there is, again and again, until cancelled."""
        while True:
            some = True
            try:
                room = self._mirrors.room
                some = self.fetch(min(MOST, room)) or not room
            except Exception:
                _log.exception("copies could not be sent")
            await asyncio.sleep(SOON_S if some else EVERY_S if self._are_wanted else SELDOM_S)

    def fetch(self, most: int = MOST) -> bool:
        """Send *most* copies of what is there; say whether there was any. What is left waits in the engine."""
        answered, dropped = self._plane.copies(most)
        for loss in dropped:
            self._drop(loss)
        for each in answered:
            try:
                self._send(each)
            except Exception:  # one copy's trouble is not to become another's
                _log.exception("a copy could not be sent", method=each.method)
        return bool(answered)

    def close(self) -> None:
        """Drop what is still to be copied, once `Mirrors` is closed."""
        while self.fetch():
            pass

    def _send(self, answered: Answered) -> None:
        decision = answered.record.decision
        assert decision is not None
        prepare = self._readers[answered.method](answered.message)
        for place in answered.mirrors:
            found = self._mirror(decision, place)
            if found is not None:
                self._mirrors.send_one(prepare, *found, answered.outputs, answered.record)

    def _drop(self, dropped: Dropped) -> None:
        found = self._mirror(dropped.decision, dropped.mirror)
        if found is not None:
            for _ in range(dropped.times):
                self._mirrors.drop(*found)

    def _mirror(self, decision: Decision, place: int) -> tuple[CompiledRoute, Mirror] | None:
        table = self._tables.get(decision.table_digest)
        if table is None:  # of so long ago that nobody remembers
            return None
        route = table.require(decision.route)
        return route, route.route.mirrors[place]

    def _note_table(self) -> None:
        table = self._names.table
        self._tables.pop(table.digest, None)
        self._tables[table.digest] = table
        self._are_wanted = any(route.route.mirrors for route in table)
        if len(self._tables) > _TABLES:
            del self._tables[next(iter(self._tables))]
