"""What operators change while the gateway runs: labels, the route table, and which models are served at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import UNSET

from turnout_server.execution.runner import Runner
from turnout_server.gateway.names import LiveNames
from turnout_server.gateway.reconciler import Reconciler
from turnout_server.routing.table import numbered
from turnout_server.serving.manager import Manager
from turnout_server.serving.state import State, VersionStatus
from turnout_server.store.store import NOBODY, By, ModelStore
from turnout_server.vocabulary.errors import ChangesDisabledError, RoutesElsewhereError, VersionUnavailableError

_UNDER_WAY = (State.STORED, State.LOADING, State.UNLOADING)


class Administration:
    """Changes the store, and sees to it that this gateway follows at once. The event loop's thread only."""

    def __init__(
        self,
        store: ModelStore,
        names: LiveNames,
        reconciler: Reconciler,
        manager: Manager[Runner],
        *,
        allow_changes: bool = False,
    ) -> None:
        """Make an administration.

        Args:
            store: what is changed.
            names: names, as they are now.
            reconciler: follows the store.
            manager: what is loaded.
            allow_changes: whether anything may be changed at all.
        """
        self._store = store
        self._names = names
        self._reconciler = reconciler
        self._manager = manager
        self._allow_changes = allow_changes

    async def set_label(
        self, model: str, label: str, version: int | None, expected: int | None, check: bool, by: By = NOBODY
    ) -> None:
        """Point *label* at *version*, or remove it; with *check*, only if it names *expected* (None: nothing) now.

        The store's audit says that it was *by* whom, as of all that is changed here.

        Raises:
            ChangesDisabledError: this server does not accept changes.
            ModelNotFoundError, VersionNotFoundError, InvalidNameError, StaleWriteError, StoreError: as the store says.
        """
        self._require_changes()
        await asyncio.to_thread(self._store.set_label, model, label, version, expected if check else UNSET, by)
        await self._reconciler.look()

    async def apply_routes(self, text: str, expected_digest: str, validate_only: bool, by: By = NOBODY) -> str:
        """Check a route table and write it to the store; return its digest.

        Raises:
            ChangesDisabledError, InvalidRouteTableError, StaleWriteError, StoreError.
            RoutesElsewhereError: this gateway does not read the store's table, which would be changed for others.
        """
        self._require_changes()
        if self._reconciler.reads_elsewhere:
            raise RoutesElsewhereError
        table = await self._reconciler.check_table(text)
        if not validate_only:
            expected = expected_digest or UNSET
            await asyncio.to_thread(self._store.write_routes, text, expected, by, numbered(table))
            await self._reconciler.look()
        return table.digest

    async def load(self, model: str, by: By = NOBODY) -> None:
        """Load *model* (again, if it failed or was unloaded) and wait until it is available.

        A model that was unloaded is loaded by every gateway on the store.

        Raises:
            ChangesDisabledError, ModelNotFoundError, VersionUnavailableError.
            StoreReadOnlyError: it was unloaded, and the store cannot be told otherwise.
        """
        self._require_changes()
        await asyncio.to_thread(self._store.resume, model, by)
        await self._reconciler.look()
        self._manager.retry(model)
        await self._until(lambda: not any(status.state in _UNDER_WAY for status in self._wished(model)))
        if not self._manager.latest(model):
            wished = self._wished(model)
            last = wished[-1] if wished else None
            problem = f"{last.state.value} ({last.detail})" if last else "nothing asks for any of its versions"
            raise VersionUnavailableError(model, last.key.version if last else "", problem)

    async def unload(self, model: str, by: By = NOBODY) -> None:
        """Stop serving *model* until `load` is called, and wait until its memory has been given back.

        The store remembers it: every gateway on it stops serving the model, also those that start later.

        Raises:
            ChangesDisabledError, ModelNotFoundError.
            StoreReadOnlyError: the store cannot be told, so other gateways would go on.
        """
        self._require_changes()
        await asyncio.to_thread(self._store.suspend, model, by)
        await self._reconciler.look()
        # A `load` that comes meanwhile has the last word.
        await self._until(lambda: not self._wished(model) or model not in self._names.suspended)

    def _wished(self, model: str) -> list[VersionStatus]:
        return sorted(status for status in self._manager.status() if status.key.model == model)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            await self._manager.wait_changed()

    def _require_changes(self) -> None:
        if not self._allow_changes:
            raise ChangesDisabledError
