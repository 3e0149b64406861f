"""What to aspire: which versions of the store this process wants loaded. Policies decide; they touch nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from turnout_server.vocabulary.versions import VersionKey


class VersionPolicy(Protocol):
    """Chooses among a model's versions."""

    def choose(self, versions: Sequence[int]) -> Collection[int]:
        """Return the versions wanted, of *versions* in ascending order."""


@dataclass(frozen=True)
class Latest:
    """The newest *count* versions."""

    count: int

    def choose(self, versions: Sequence[int]) -> Collection[int]:
        """Return the last *count* of *versions*."""
        return versions[-self.count :] if self.count else ()


@dataclass(frozen=True)
class All:
    """Every version."""

    def choose(self, versions: Sequence[int]) -> Collection[int]:
        """Return *versions*."""
        return versions


@dataclass(frozen=True)
class Specific:
    """These versions, as far as they exist."""

    versions: frozenset[int]

    def choose(self, versions: Sequence[int]) -> Collection[int]:
        """Return those of *versions* that are meant."""
        return [version for version in versions if version in self.versions]


def aspired(
    versions: Mapping[str, Sequence[int]],
    labels: Mapping[str, Mapping[str, int]],
    selectors: Mapping[str, Iterable[int | str]],
    policy: VersionPolicy,
    suspended: Collection[str] = (),
) -> frozenset[VersionKey]:
    """Return the whole wish: what should be loaded, whatever is loaded now.

    Args:
        versions: the store's versions by model, ascending.
        labels: the store's labels by model; every labelled version is wanted.
        selectors: the version numbers and labels that the route table names, by model; all are wanted.
        policy: what is wanted besides.
        suspended: models that were unloaded by hand; nothing of them is wanted.
    """
    wish: set[VersionKey] = set()
    for model, present in versions.items():
        if model in suspended:
            continue
        named = labels.get(model, {})
        numbers = {
            selector if isinstance(selector, int) else named.get(selector) for selector in selectors.get(model, ())
        }
        wanted = {*policy.choose(present), *named.values(), *(number for number in numbers if number is not None)}
        wish.update(VersionKey(model, version) for version in wanted.intersection(present))
    return frozenset(wish)
