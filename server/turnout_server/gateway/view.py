"""What routes and labels mean at one moment: an immutable snapshot, read by every request and swapped whole."""

from __future__ import annotations

from collections.abc import Mapping

from turnout_server.routing.table import EMPTY, RouteTable, selectors
from turnout_server.vocabulary.versions import Labels, VersionKey, resolve


class View:
    """A route table, and the version that each label gets."""

    __slots__ = ("_keys", "labels", "table")

    def __init__(self, table: RouteTable = EMPTY, labels: Labels | None = None) -> None:
        self.table = table
        self.labels: Labels = labels if labels is not None else {}
        self._keys: Mapping[tuple[str, int | str], VersionKey] = {
            (model, selector): key
            for model, wanted in selectors(table).items()
            for selector in wanted
            if (key := resolve(model, selector, self.labels)) is not None
        }

    def key_of(self, model: str, selector: int | str) -> VersionKey | None:
        """Return the version that a target's or mirror's selector stands for; None for a label that is gone."""
        return self._keys.get((model, selector))

    def in_use(self) -> frozenset[VersionKey]:
        """Return every version that the table or a label stands on."""
        labelled = {VersionKey(model, version) for model, labels in self.labels.items() for version in labels.values()}
        return frozenset(labelled.union(self._keys.values()))
