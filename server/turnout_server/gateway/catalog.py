"""What there is to ask for: models, versions, labels, routes; as the store has them and as this process serves them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

from turnout_server.execution.runner import Runner
from turnout_server.gateway.manifests import Manifests
from turnout_server.gateway.names import LiveNames
from turnout_server.gateway.reconciler import Reconciler
from turnout_server.instruments.statistics import VersionStatistics
from turnout_server.routing.decide import answers_for, candidates, decide, refused, unavailable
from turnout_server.routing.laying import Rollout, rollout_of
from turnout_server.routing.route import Target
from turnout_server.routing.table import RouteTable
from turnout_server.serving.manager import Manager
from turnout_server.serving.state import VersionStatus
from turnout_server.store.manifest import Manifest
from turnout_server.store.store import ModelStore
from turnout_server.vocabulary.ask import Ask
from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.errors import TurnoutError, VersionUnavailableError
from turnout_server.vocabulary.versions import VersionKey


class Description(NamedTuple):
    """What a name stands for: a route or a model, with the versions that can answer for it now."""

    name: str
    versions: tuple[int, ...]
    """The versions available now that a request for the name may get, ascending."""
    manifest: Manifest
    """Of the version that would answer: for a route its heaviest available target's, for a model its champion's, or its
    newest's without one."""


class Catalog:
    """Everything that services may look at. The event loop's thread only."""

    def __init__(
        self,
        store: ModelStore,
        names: LiveNames,
        reconciler: Reconciler,
        manager: Manager[Runner],
        *,
        draw: Callable[[], float] = random.random,
        before_statistics: Callable[[], object] = lambda: None,
        unclear: Callable[[], str] = str,
    ) -> None:
        """Make a catalogue.

        Args:
            store: has the manifests.
            names: names, as they are now.
            reconciler: knows what is wrong with the store's route table.
            manager: what is loaded.
            draw: a source of numbers uniform in [0, 1).
            before_statistics: called before statistics are read: what was counted elsewhere comes in.
            unclear: says why nobody can tell what a bare name means; empty where that is clear. See `Standing.names`.
        """
        self._manifests = Manifests(store, names)
        self._names = names
        self._reconciler = reconciler
        self._manager = manager
        self._draw = draw
        self._before_statistics = before_statistics
        self._unclear = unclear

    @property
    def table(self) -> RouteTable:
        """The route table being served."""
        return self._names.table

    @property
    def table_problem(self) -> str:
        """Why the table in the store is not the one being served; empty when it is."""
        return self._reconciler.table_problem

    def rollout(self, route: str) -> Rollout | None:
        """Return what has been decided about a route since its table was written; None for nothing."""
        return rollout_of(self.table, route, self._reconciler.left_out.get(route, ""))

    # ------------------------------------------------------------ who answers

    def describe(self, name: str, version: str = "") -> Description:
        """Say what *name* (and *version*: a number or a label) stands for.

        Raises:
            RouteNotFoundError, ModelNotFoundError, VersionNotFoundError, LabelNotFoundError: there is no such thing.
            VersionUnavailableError: there is, but nothing available answers to it now.
        """
        found = candidates(self._names, name, version)
        available = [decision for decision in found if decision.available]
        if not available:
            if found[0].route:
                raise VersionUnavailableError(name, "", "no target of the route is available")
            raise unavailable(self._names, found[0])
        first = available[0]
        if first.route or version:
            versions = tuple(sorted({decision.version for decision in available}))
        else:
            versions = self._manager.available(first.model)
        runner = self._manager.peek(first.key)
        assert runner is not None, "it is available"
        return Description(name, versions, runner.manifest)

    def is_ready(self, name: str, version: str = "") -> bool:
        """Say whether every request for *name* would be answered now; False for what does not exist.

        Of a route, every target that its split gives requests to has to be available, or its fallback.
        """
        if not version:
            if self._unclear():  # it may be a route's
                return False
            route = self.table.get(name)
            if route is not None:
                return not refused(self._names, route)
        try:
            return any(decision.available for decision in candidates(self._names, name, version))
        except TurnoutError:
            return False

    def assign(self, route: str, unit: str, headers: Mapping[str, str]) -> Decision:
        """Say whom a request would get, without running a model.

        Raises:
            RouteNotFoundError: no route has that name.
            InvalidRequestError: the unit is too long.
            VersionUnavailableError: neither the target nor a fallback is available.
        """
        ask = Ask(name=route, unit=unit, headers=headers)
        self.table.require(route)
        decision = decide(self._names, ask, self._draw())
        if not decision.available:
            raise unavailable(self._names, decision)
        return decision

    def answers_for(self, target: Target) -> int:
        """Return the version that answers for a target itself now; 0 when none does."""
        return answers_for(self._names, target)

    def statistics(self, name: str = "", version: str = "") -> tuple[tuple[VersionKey, VersionStatistics], ...]:
        """Return the counts of every loaded version that *name* and *version* stand for; of all, for an empty name.

        Raises:
            RouteNotFoundError, ModelNotFoundError, VersionNotFoundError, LabelNotFoundError: there is no such thing.
        """
        self._before_statistics()
        if not name:
            keys = [status.key for status in self._manager.status()]
        else:
            found = candidates(self._names, name, version)
            keys = [decision.key for decision in found]
            if not found[0].route and not version:
                keys = [VersionKey(found[0].model, number) for number in self._manager.available(found[0].model)]
        runners = [(key, self._manager.peek(key)) for key in dict.fromkeys(keys)]
        return tuple((key, runner.statistics) for key, runner in sorted(runners, key=lambda pair: pair[0]) if runner)

    # ------------------------------------------------------------ what there is

    def models(self) -> tuple[str, ...]:
        """Return the names of all models in the store or still loaded, ascending."""
        return tuple(sorted({*self._names.stored_models(), *(status.key.model for status in self._manager.status())}))

    def status(self, model: str = "") -> tuple[VersionStatus, ...]:
        """Return every version in the store or still loaded, by name and number; of one model, if *model* is given."""
        found = {
            key: self._names.status_of(key)
            for name in ([model] if model else self._names.stored_models())
            for key in (VersionKey(name, version) for version in self._names.stored(name))
        }
        found.update(
            {
                status.key: self._names.status_of(status.key)
                for status in self._manager.status()
                if not model or status.key.model == model
            }
        )
        return tuple(found[key] for key in sorted(found))

    def labels(self, model: str) -> Mapping[str, int]:
        """Return a model's labels, as the store has them."""
        return self._names.stored_labels(model)

    async def manifest(self, key: VersionKey) -> Manifest:
        """Return a version's manifest, from memory or from the store.

        Raises:
            ModelNotFoundError, VersionNotFoundError, InvalidManifestError, StoreError: as the store says.
        """
        runner = self._manager.peek(key)
        if runner is not None:
            return runner.manifest
        return await self._manifests.get(key)
