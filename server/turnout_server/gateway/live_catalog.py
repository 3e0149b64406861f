"""The catalogue of a running gateway: the reconciler's names, the manager's states, the store's manifests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping

from msgspec import UNSET

from turnout_server.execution.runner import Runner
from turnout_server.gateway.catalog import Description
from turnout_server.gateway.data_plane import DataPlane
from turnout_server.gateway.reconciler import Reconciler
from turnout_server.instruments.statistics import VersionStatistics
from turnout_server.routing.route import Target
from turnout_server.routing.table import CompiledRoute, RouteTable
from turnout_server.serving.manager import Manager
from turnout_server.serving.state import State, VersionStatus
from turnout_server.store.manifest import Manifest
from turnout_server.store.store import ModelStore
from turnout_server.vocabulary.decision import Reason, Served
from turnout_server.vocabulary.errors import (
    ChangesDisabledError,
    ModelNotFoundError,
    TurnoutError,
    VersionUnavailableError,
)
from turnout_server.vocabulary.versions import VersionKey, resolve


class LiveCatalog:
    """Implements `turnout_server.gateway.catalog.Catalog`. The event loop's thread only."""

    def __init__(
        self,
        store: ModelStore,
        reconciler: Reconciler,
        manager: Manager[Runner],
        data_plane: DataPlane,
        *,
        allow_changes: bool = False,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._director = reconciler
        self._manager = manager
        self._data_plane = data_plane
        self._allow_changes = allow_changes
        self._draw = draw

    # ------------------------------------------------------------ looking

    @property
    def table(self) -> RouteTable:
        """The route table being served."""
        return self._director.view.table

    @property
    def table_problem(self) -> str:
        """Why the table in the store is not the one being served; empty when it is."""
        return self._director.table_problem

    def describe(self, name: str, version: str = "") -> Description:
        """Say what *name* and *version* stand for; see `Catalog.describe`."""
        route = None if version else self.table.get(name)
        if route is None:
            key = self._data_plane.pinned_key(name, version)
            versions = (key.version,) if version else self._manager.available(key.model)
            return Description(name, False, versions, self._loaded(key).manifest)
        keys = [key for key in self._arms(route) if self._manager.is_available(key)]
        if not keys:
            raise VersionUnavailableError(name, "", "no target of the route is available")
        versions = tuple(sorted({key.version for key in keys}))
        return Description(name, True, versions, self._loaded(keys[0]).manifest)

    def is_ready(self, name: str, version: str = "") -> bool:
        """Say whether a request for *name* would be answered now; see `Catalog.is_ready`."""
        try:
            self.describe(name, version)
        except TurnoutError:
            return False
        return True

    def models(self) -> tuple[str, ...]:
        """Return the names of all models in the store or still loaded, ascending."""
        return tuple(
            sorted({*self._director.stored_models(), *(status.key.model for status in self._manager.status())})
        )

    def status(self, model: str = "") -> tuple[VersionStatus, ...]:
        """Return every version in the store or still loaded; see `Catalog.status`."""
        found = {
            VersionKey(name, version): VersionStatus(VersionKey(name, version), State.STORED)
            for name in ([model] if model else self._director.stored_models())
            for version in self._director.stored_versions(name)
        }
        found.update(
            {status.key: status for status in self._manager.status() if not model or status.key.model == model}
        )
        return tuple(found[key] for key in sorted(found))

    def labels(self, model: str) -> Mapping[str, int]:
        """Return a model's labels, as the store has them."""
        return self._director.stored_labels(model)

    def serving_version(self, model: str, selector: int | str) -> int:
        """Return the version that *selector* gets now; 0 when none is available."""
        key = resolve(model, selector, self._director.view.labels)
        return key.version if key is not None and self._manager.is_available(key) else 0

    async def manifest(self, key: VersionKey) -> Manifest:
        """Return a version's manifest; see `Catalog.manifest`."""
        runner = self._manager.peek(key)
        if runner is not None:
            return runner.manifest
        return await asyncio.to_thread(self._store.manifest, key.model, key.version)

    def statistics(self, name: str = "", version: str = "") -> tuple[tuple[VersionKey, VersionStatistics], ...]:
        """Return the counts of every loaded version that *name* and *version* stand for; see `Catalog.statistics`."""
        if not name:
            keys = [status.key for status in self._manager.status()]
        elif version:
            keys = [self._data_plane.pinned_key(name, version)]
        elif (route := self.table.get(name)) is not None:
            keys = self._arms(route)
        else:
            model = self._data_plane.pinned_key(name, "").model
            keys = [VersionKey(model, number) for number in self._manager.available(model)]
        runners = [(key, self._manager.peek(key)) for key in dict.fromkeys(keys)]
        return tuple((key, runner.statistics) for key, runner in sorted(runners, key=lambda pair: pair[0]) if runner)

    def assign(self, route: str, unit: str, headers: Mapping[str, str]) -> tuple[Served, int]:
        """Say whom a request would get; see `Catalog.assign`."""
        compiled = self.table.require(route)
        _, target, reason, override = compiled.assign(unit, headers, self._draw())
        choices = [(target, reason)]
        if compiled.fallback is not None:
            choices.append((compiled.fallback, Reason.FALLBACK))
        for choice, why in choices:
            version = self.serving_version(choice.model, choice.version)
            if version:
                return Served(route, choice.name, choice.model, version, why), override
        raise VersionUnavailableError(target.model, target.version, "neither the target nor a fallback is available")

    def _arms(self, route: CompiledRoute) -> list[VersionKey]:
        """Return the versions behind a route's targets, the heaviest target's first."""
        by_weight: list[Target] = sorted(route.route.targets, key=lambda target: -target.weight)
        keys = (self._director.view.key_of(target.model, target.version) for target in by_weight)
        return [key for key in keys if key is not None]

    def _loaded(self, key: VersionKey) -> Runner:
        lease = self._manager.lease(key)
        lease.release()
        return lease.servable

    # ------------------------------------------------------------ changing

    async def set_label(self, model: str, label: str, version: int | None, expected: int | None, check: bool) -> None:
        """Point *label* at *version*, or remove it; see `Catalog.set_label`."""
        self._require_changes()
        await asyncio.to_thread(self._store.set_label, model, label, version, expected if check else UNSET)
        await self._director.look()

    async def apply_routes(self, text: str, expected_digest: str, validate_only: bool) -> str:
        """Check a route table and write it to the store; see `Catalog.apply_routes`."""
        self._require_changes()
        table = await self._director.check_table(text)
        if not validate_only:
            await asyncio.to_thread(self._store.write_routes, text, expected_digest or UNSET)
            await self._director.look()
        return table.digest

    async def load(self, model: str) -> None:
        """Load *model* and wait until it is available; see `Catalog.load`."""
        self._require_changes()
        if not self._director.stored_versions(model):
            await self._director.look()
        if not self._director.stored_versions(model):
            raise ModelNotFoundError(model)
        self._director.suspended.discard(model)
        self._director.advance()
        self._manager.retry(model)
        await self._until(lambda: not any(status.state in _UNDER_WAY for status in self._wished(model)))
        if not self._manager.latest(model):
            wished = self._wished(model)
            last = wished[-1] if wished else None
            problem = f"{last.state.value} ({last.detail})" if last else "nothing asks for any of its versions"
            raise VersionUnavailableError(model, last.key.version if last else "", problem)

    async def unload(self, model: str) -> None:
        """Stop serving *model*; see `Catalog.unload`."""
        self._require_changes()
        if not self._director.stored_versions(model) and not self._wished(model):
            raise ModelNotFoundError(model)
        self._director.suspended.add(model)
        self._director.advance()
        # A `load` that comes meanwhile has the last word.
        await self._until(lambda: not self._wished(model) or model not in self._director.suspended)

    def _wished(self, model: str) -> list[VersionStatus]:
        return sorted(status for status in self._manager.status() if status.key.model == model)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            await self._manager.wait_changed()

    def _require_changes(self) -> None:
        if not self._allow_changes:
            raise ChangesDisabledError


_UNDER_WAY = (State.STORED, State.LOADING, State.UNLOADING)
