"""Which version of which model, and what a number or a label stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

LARGEST_VERSION = (1 << 63) - 1
"""No version has a larger number: the engine, like the wire, has 64 bits for it."""


class VersionKey(NamedTuple):
    """One version of one model."""

    model: str
    version: int

    def __str__(self) -> str:
        return f"{self.model} version {self.version}"

    def without_name(self, problem: str) -> str:
        """Return *problem* without the version's name at its front, for where the name is said already."""
        return problem.removeprefix(f"{self}: ")


Labels = Mapping[str, Mapping[str, int]]
"""Versions by label, by model."""


def resolve(model: str, selector: int | str, labels: Labels) -> VersionKey | None:
    """Return the version that a number or a label stands for; None for a label that does not exist."""
    if isinstance(selector, int):
        return VersionKey(model, selector)
    version = labels.get(model, {}).get(selector)
    return None if version is None else VersionKey(model, version)
