"""What the store has of rollouts, laid over the route table; what is wrong there is refused alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from turnout_server.routing.laying import Laid, lay
from turnout_server.routing.overlay import Overlay, footing, parse
from turnout_server.routing.table import RouteTable
from turnout_server.store.rollouts import Stored
from turnout_server.vocabulary.errors import InvalidRouteTableError

_UNLISTED = "the store's rollouts cannot be listed; what is known of them stays"
_NEVER_LISTED = "the store's rollouts cannot be listed: whether anything was decided about this route is not known"


class Overlays:
    """The overlays as last read, one by one: in place of one that is broken the one before it. One thread at a time."""

    def __init__(self) -> None:
        self._read: dict[str, Stored] | None = None
        """None until it could first be said what there is."""
        self._known: dict[str, Overlay] = {}
        self._broken: dict[str, str] = {}
        self._last: dict[int, tuple[RouteTable, dict[str, Overlay], Laid]] = {}
        """What was laid over the tables of the last look, by their identity."""

    def lay(self, tables: Sequence[RouteTable], found: Mapping[str, Stored] | None) -> list[Laid]:
        """Lay over each of *tables* what was *found*, by route; None where nobody can say what there is.

        A pause that is in force with the first table is so with the others, too, whatever it was decided on: the one
        that serves must not go on with an experiment because a newer one, which says something else of it, has to wait.

        Returns:
            For each, the same table again as long as nothing has changed, and why what the store has of a route is not
            in force.
        """
        unlisted = {}
        if found is None and self._read is None:
            unlisted = {compiled.name: _NEVER_LISTED for compiled in tables[0]}
        elif found is None:
            unlisted = dict.fromkeys(self._known, _UNLISTED)
        elif found != self._read:
            self._take(found)
        first = self._laid(tables[0], self._known)
        paused = {route for route, overlay in first[2].table.overlays.items() if overlay.is_paused}
        others = {id(table): self._laid(table, self._based_on(table, paused)) for table in tables[1:]}
        self._last = {**others, id(tables[0]): first}
        made = [self._last[id(table)][2] for table in tables]
        return [Laid(laid.table, {**laid.left_out, **unlisted, **self._broken}) for laid in made]

    def _laid(self, table: RouteTable, known: dict[str, Overlay]) -> tuple[RouteTable, dict[str, Overlay], Laid]:
        last = self._last.get(id(table))
        if last is not None and last[0] is table and last[1] == known:
            return last
        return table, dict(known), lay(table, known)

    def _based_on(self, table: RouteTable, routes: Collection[str]) -> dict[str, Overlay]:
        """Return all overlays, those of *routes* as if they had been decided on *table*."""
        found = dict(self._known)
        for compiled in table:
            if compiled.name in routes:
                overlay = found[compiled.name]
                on = footing(compiled.route, weights=bool(overlay.step.weights))
                found[compiled.name] = msgspec.structs.replace(overlay, on=on)
        return found

    def _take(self, found: Mapping[str, Stored]) -> None:
        before, self._read = self._read or {}, dict(found)
        for gone in self._known.keys() - found.keys():
            del self._known[gone]
        self._broken = {route: why for route, why in self._broken.items() if route in found}
        for route, stored in found.items():
            if stored == before.get(route):
                continue
            self._broken.pop(route, None)
            try:
                if stored.problem:
                    raise InvalidRouteTableError(f"rollouts/{route}.json", stored.problem)
                self._known[route] = parse(stored.content, route)
            except InvalidRouteTableError as error:
                self._broken[route] = error.message
