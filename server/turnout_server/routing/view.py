"""What routes and labels mean at one moment: an immutable snapshot, read by every request and swapped whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from turnout_server.routing.table import EMPTY, CompiledRoute, RouteTable, selectors
from turnout_server.vocabulary.versions import Labels, VersionKey, resolve


class View:
    """A route table, and the version that each label gets."""

    __slots__ = ("_epochs", "_keys", "labels", "table")

    def __init__(self, table: RouteTable = EMPTY, labels: Labels | None = None) -> None:
        self.table = table
        self.labels: Labels = labels if labels is not None else {}
        self._keys: Mapping[tuple[str, int | str], VersionKey] = {
            (model, selector): key
            for model, wanted in selectors(table).items()
            for selector in wanted
            if (key := resolve(model, selector, self.labels)) is not None
        }
        self._epochs = {route.name: self._epoch(route) for route in table}

    def key_of(self, model: str, selector: int | str) -> VersionKey | None:
        """Return the version that a number or a label stands for; None for a label that is gone."""
        return self._keys.get((model, selector)) or resolve(model, selector, self.labels)

    def epoch_of(self, route: str) -> str:
        """Return the digest of what decides a unit's fate on *route*: salt, targets, weights and resolved versions.

        Sixteen hexadecimal digits; empty for a route that is not in the table. Overrides, mirrors and other routes do
        not enter, nor does the order of the targets.
        """
        return self._epochs.get(route, "")

    @property
    def epochs(self) -> Mapping[str, str]:
        """Each route's epoch, by name."""
        return self._epochs

    def _epoch(self, route: CompiledRoute) -> str:
        return hashlib.sha256("\n".join(self._constants(route)).encode()).hexdigest()[:16]

    def _constants(self, route: CompiledRoute) -> Iterator[str]:
        yield repr(route.route.salt)
        for target in sorted(route.route.targets, key=lambda target: target.name):
            key = self.key_of(target.model, target.version)
            yield f"{target.name} {target.model} {key.version if key else 0} {target.weight!r}"

    def in_use(self) -> frozenset[VersionKey]:
        """Return every version that the table or a label stands on."""
        labelled = {VersionKey(model, version) for model, labels in self.labels.items() for version in labels.values()}
        return frozenset(labelled.union(self._keys.values()))
