"""What the versions say of themselves that are in the store and not loaded: read once, for all who ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from turnout_server.gateway.names import LiveNames
from turnout_server.store.manifest import Manifest
from turnout_server.store.snapshot import ModelState
from turnout_server.store.store import ModelStore
from turnout_server.vocabulary.versions import VersionKey

MOST_KNOWN = 2048
"""How many manifests are kept; the oldest go first."""
KEEP_S = 60.0
"""How long one is kept, in seconds, in case that somebody changes in the store what should never change."""


class _Known(NamedTuple):
    manifest: Manifest
    state: ModelState
    """The model as it was when the manifest was read: another one may have other versions of the same numbers."""
    until: float
    """By the clock."""


class Manifests:
    """Manifests of the store. The event loop's thread only."""

    def __init__(self, store: ModelStore, names: LiveNames, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet.

        Args:
            store: has them.
            names: knows what the store had when it was last looked at.
            clock: seconds, monotonic.
        """
        self._store = store
        self._names = names
        self._clock = clock
        self._known: dict[VersionKey, _Known] = {}
        self._reading: dict[VersionKey, asyncio.Task[Manifest]] = {}

    async def get(self, key: VersionKey) -> Manifest:
        """Return a version's manifest; however many ask at once, it is read once.

        Raises:
            ModelNotFoundError, VersionNotFoundError, InvalidManifestError, StoreError: as the store says.
        """
        known = self._known.get(key)
        if known is not None and known.state is self._names.models.get(key.model) and self._clock() < known.until:
            return known.manifest
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._read(key))
            task.add_done_callback(lambda read: read.cancelled() or read.exception())  # all may have given up
        return await asyncio.shield(task)

    async def _read(self, key: VersionKey) -> Manifest:
        state = self._names.models.get(key.model)
        self._known.pop(key, None)
        try:
            manifest = await asyncio.to_thread(self._store.manifest, key.model, key.version)
        finally:
            del self._reading[key]
        if state is not None and key.version in state.versions:
            if len(self._known) >= MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[key] = _Known(manifest, state, self._clock() + KEEP_S)
        return manifest
