"""What there is to ask for: models, versions, labels, routes; as the store has them and as this process serves them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from turnout_server.instruments.statistics import VersionStatistics
from turnout_server.routing.table import RouteTable
from turnout_server.serving.state import VersionStatus
from turnout_server.store.manifest import Manifest
from turnout_server.vocabulary.decision import Served
from turnout_server.vocabulary.versions import VersionKey


class Description(NamedTuple):
    """What a name stands for: a route or a model, with the versions that can answer for it now."""

    name: str
    is_route: bool
    versions: tuple[int, ...]
    """The versions available now that a request for the name may get, ascending."""
    manifest: Manifest
    """Of the version that would answer: for a route its heaviest available target's, for a model its newest's."""


class Catalog(Protocol):
    """Everything that services may look at or change, apart from predictions. The event loop's thread only."""

    @property
    def table(self) -> RouteTable:
        """The route table being served."""

    @property
    def table_problem(self) -> str:
        """Why the table in the store is not the one being served; empty when it is."""

    def describe(self, name: str, version: str = "") -> Description:
        """Say what *name* (and *version*: a number or a label) stands for.

        Raises:
            RouteNotFoundError, VersionNotFoundError, LabelNotFoundError: there is no such thing.
            VersionUnavailableError: there is, but nothing available answers to it now.
        """

    def is_ready(self, name: str, version: str = "") -> bool:
        """Say whether a request for *name* would be answered now; False for what does not exist."""

    def models(self) -> tuple[str, ...]:
        """Return the names of all models in the store or still loaded, ascending."""

    def status(self, model: str = "") -> tuple[VersionStatus, ...]:
        """Return every version in the store or still loaded, by name and number; of one model, if *model* is given."""

    def labels(self, model: str) -> Mapping[str, int]:
        """Return a model's labels, as the store has them."""

    def serving_version(self, model: str, selector: int | str) -> int:
        """Return the version that *selector* (a number or a label) gets now; 0 when none is available."""

    async def manifest(self, key: VersionKey) -> Manifest:
        """Return a version's manifest, from memory or from the store.

        Raises:
            ModelNotFoundError, VersionNotFoundError, InvalidManifestError, StoreError: as the store says.
        """

    def statistics(self, name: str = "", version: str = "") -> tuple[tuple[VersionKey, VersionStatistics], ...]:
        """Return the counts of every loaded version that *name* and *version* stand for; of all, for an empty name."""

    def assign(self, route: str, unit: str, headers: Mapping[str, str]) -> tuple[Served, int]:
        """Say whom a request would get, without running a model; the number is the override's position or -1.

        Raises:
            RouteNotFoundError: no route has that name.
            VersionUnavailableError: neither the target nor a fallback is available.
        """

    async def set_label(self, model: str, label: str, version: int | None, expected: int | None, check: bool) -> None:
        """Point *label* at *version*, or remove it; with *check*, only if it names *expected* (None: nothing) now.

        Raises:
            ChangesDisabledError: this server does not accept changes.
            ModelNotFoundError, VersionNotFoundError, InvalidNameError, StaleWriteError, StoreError: as the store says.
        """

    async def apply_routes(self, text: str, expected_digest: str, validate_only: bool) -> str:
        """Check a route table and write it to the store; return its digest.

        Raises:
            ChangesDisabledError, InvalidRouteTableError, StaleWriteError, StoreError.
        """

    async def load(self, model: str) -> None:
        """Load *model* (again, if it failed or was unloaded) and wait until it is available.

        Raises:
            ChangesDisabledError, ModelNotFoundError, VersionUnavailableError.
        """

    async def unload(self, model: str) -> None:
        """Stop serving *model* until `load` is called, and wait until its memory has been given back.

        Raises:
            ChangesDisabledError, ModelNotFoundError.
        """
