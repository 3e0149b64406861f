"""Whether this gateway should get traffic, and if not, why: said of the whole, and of each of its routes.

Until every required route could answer once, it should get none: whoever deploys it learns in time that it cannot do
its work. From then on a route that fails is that route's business alone. Gateways share their store, so what one of
them cannot load no other one can, and all of them would be taken out of traffic at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Literal, NamedTuple

import structlog

from turnout_server.execution.runner import Runner
from turnout_server.gateway.names import LiveNames
from turnout_server.gateway.reconciler import Reconciler
from turnout_server.routing.decide import refused
from turnout_server.serving.manager import Manager

_log = structlog.get_logger("turnout.readiness")

STARTING = "versions are still being loaded"
STOPPING = "the gateway is stopping"
MOST_CHARACTERS = 1000
"""What is said of why is not longer."""
_QUICK_S = 0.001
"""A look at all routes that takes less of the processor is taken at once, in seconds."""
_REST = 10
"""How much longer than it takes to look at very many routes they are left alone."""


class Standing(NamedTuple):
    """What is wrong, in words; an empty text where nothing is."""

    server: str = STARTING
    routes: Mapping[str, str] = {}
    """By route. One that is required and not in the table is here, too."""
    names: str = ""
    """Why nobody can say what a bare name means: the table that would say so is missing."""


class Readiness:
    """Follows what is served. The event loop's thread only."""

    def __init__(
        self,
        names: LiveNames,
        reconciler: Reconciler,
        manager: Manager[Runner],
        required: Literal["all"] | Collection[str] = "all",
    ) -> None:
        """Make one that says STARTING.

        Args:
            names: what names mean.
            reconciler: knows what is wrong with the route table.
            manager: what is loaded.
            required: the routes that must have been able to answer once.
        """
        self._names = names
        self._reconciler = reconciler
        self._manager = manager
        self._required = required
        self._listeners: list[Callable[[Standing], None]] = []
        self._phase: Literal["starting", "unready", "ready", "stopping"] = "starting"
        self._due: asyncio.TimerHandle | None = None
        self._took_s = 0.0
        self._is_told = False
        """Whether the log has said that the gateway should get no traffic."""
        self.standing = Standing()
        names.subscribe(self._changed)
        reconciler.subscribe(self._changed)
        manager.subscribe(lambda status, error: self._changed())

    def subscribe(self, listener: Callable[[Standing], None]) -> None:
        """Have *listener* told now, and whenever something has changed."""
        self._listeners.append(listener)
        listener(self.standing)

    @property
    def is_ready(self) -> bool:
        """Whether the gateway should get traffic."""
        return not self.standing.server

    def begin(self) -> None:
        """All that was wished for at the start has been tried: from now on the gateway may be ready."""
        if self._phase == "starting":
            self._phase = "unready"
        self.look()

    def end(self) -> None:
        """The gateway should get no more traffic, for good."""
        self._phase = "stopping"
        self.look()

    def look(self) -> None:
        """Say how things stand now."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        began = time.thread_time()
        before, self.standing = self.standing, self._look()
        self._took_s = time.thread_time() - began
        if self.standing != before:
            self._log(before)
            for listener in self._listeners:
                listener(self.standing)

    def _changed(self) -> None:
        if self._due is None:
            loop = asyncio.get_running_loop()
            # A thousand versions that load one after the other must not have all routes looked at each time.
            self._due = loop.call_later(_REST * self._took_s if self._took_s > _QUICK_S else 0.0, self.look)

    # ------------------------------------------------------------ looking

    def _look(self) -> Standing:
        routes = self._routes()
        missing = self._reconciler.table_missing
        if self._phase == "unready":
            why = self._why(routes, missing)
            if why:
                return Standing(_short(why), routes, _short(missing))
            self._phase = "ready"
        if self._phase == "ready":
            return Standing("", routes)
        if self._phase == "stopping":
            return Standing(STOPPING, dict.fromkeys(routes, STOPPING))
        return Standing(STARTING, routes, _short(missing))

    def _routes(self) -> dict[str, str]:
        """Return why a route's requests are refused, by route."""
        found: dict[str, str] = {}
        if self._required != "all":
            found = dict.fromkeys(self._required, "it is required, and the route table has no such route")
        for route in self._names.table:
            errors = refused(self._names, route)
            found[route.name] = _short(errors[0][1].message) if errors else ""
        return found

    def _why(self, routes: Mapping[str, str], missing: str) -> str:
        """Return why the gateway never could do its work until now; empty if it can."""
        if missing:
            return f"there is no route table: {missing}"
        wrong = [
            f"route {name!r}: {problem}"
            for name, problem in routes.items()
            if problem and (self._required == "all" or name in self._required) and not self._is_meant(name)
        ]
        if wrong:
            return wrong[0] if len(wrong) == 1 else f"{wrong[0]} (and {len(wrong) - 1} more)"
        failed = {status.key for status in self._manager.failed()}
        if failed and not routes and failed.issuperset(status.key for status in self._manager.status()):
            return f"no model can answer: {min(failed)} is {self._names.state_of(min(failed))}"
        return ""

    def _is_meant(self, name: str) -> bool:
        """Say whether all that a route lacks are models that an operator has unloaded: no new gateway is to blame."""
        route, suspended = self._names.table.get(name), self._names.suspended
        return route is not None and all(lacking.model in suspended for lacking, _ in refused(self._names, route))

    # ------------------------------------------------------------ the log

    def _log(self, before: Standing) -> None:
        why = self.standing.server
        if self._phase == "unready" and not self._is_told:
            self._is_told = True
            _log.error("the gateway is NOT_SERVING", problem=why)
        elif before.server and not why and self._is_told:
            _log.info("the gateway is SERVING")
        if self._phase == "ready" and not before.server:
            for name, problem in self.standing.routes.items():
                known = before.routes.get(name, "")
                if problem and not known:
                    _log.error("requests for a route are refused", route=name, problem=problem)
                elif known and not problem:
                    _log.info("a route answers all its requests again", route=name)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 3]}..."
