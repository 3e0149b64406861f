"""What names mean to somebody who only looks at a store: everything in it counts as available."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from turnout_server.routing.table import EMPTY, RouteTable
from turnout_server.routing.view import View
from turnout_server.vocabulary.versions import Labels, VersionKey


class StoredNames:
    """Implements `turnout_server.routing.decide.Names` without a running gateway."""

    def __init__(
        self,
        table: RouteTable = EMPTY,
        versions: Mapping[str, Sequence[int]] | None = None,
        labels: Labels | None = None,
    ) -> None:
        """Make names.

        Args:
            table: the route table.
            versions: the store's versions by model, ascending; None where no store is at hand, and all are taken to be
                there.
            labels: the store's labels by model.
        """
        self._view = View(table, labels)
        self._versions = versions

    @property
    def table(self) -> RouteTable:
        """The route table."""
        return self._view.table

    def key_of(self, model: str, selector: int | str) -> VersionKey | None:
        """Return the version that a number or a label stands for; None for a label that is gone.

        Where no store is at hand, a label is taken to name a version that is not known, 0.
        """
        key = self._view.key_of(model, selector)
        return VersionKey(model, 0) if key is None and self._versions is None else key

    def epoch_of(self, route: str) -> str:
        """Return the digest of what is constant in an epoch of *route*; see `View.epoch_of`."""
        return self._view.epoch_of(route)

    def stored(self, model: str) -> Sequence[int]:
        """Return the versions of *model*, ascending."""
        return () if self._versions is None else self._versions.get(model, ())

    def newest(self, model: str) -> int:
        """Return the newest version of *model*; 0 when there is none."""
        stored = self.stored(model)
        return stored[-1] if stored else 0

    def is_available(self, key: VersionKey) -> bool:
        """Say whether the version is in the store."""
        return self._versions is None or key.version in self.stored(key.model)

    def state_of(self, key: VersionKey) -> str:
        """Say where a version that is not available is, in words."""
        return "not in the store"
