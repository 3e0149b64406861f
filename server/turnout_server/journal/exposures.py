"""What became of exposures, by arm: whether arms lost alike decides whether they can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from turnout_server.vocabulary.exposure import Arm, arm_of
from turnout_server.vocabulary.record import Page, Record

Key = TypeVar("Key", bound=tuple[str, str, str])
Counts = dict[Arm, int]
"""Exposures by arm: as many entries as the route tables have arms that were served, and nothing of any unit."""


def counted(taken: Iterable[Record | Page]) -> Counts:
    """Return the exposures among what was taken from the ring."""
    counts: Counts = {}
    for one in taken:
        if not isinstance(one, Record):
            add(counts, one.exposures())
        elif one.copy_of < 0 and one.decision is not None and (arm := arm_of(one.decision, one.unit)) is not None:
            counts[arm] = counts.get(arm, 0) + 1
    return counts


def add(counts: Counts, more: Mapping[Key, int]) -> None:
    """Add *more* to *counts*, which have no zeros."""
    for key, count in more.items():
        arm = Arm(*key)
        if total := counts.get(arm, 0) + count:
            counts[arm] = total
        else:
            counts.pop(arm, None)


class Balance:
    """Exposures that are held until they are written or lost. It is told of them under one lock."""

    def __init__(self) -> None:
        self.written: Counts = {}
        self.dropped: Counts = {}
        self._held: Counts = {}

    @property
    def held(self) -> Counts:
        """What is neither written nor lost yet."""
        return dict(self._held)

    def hold(self, counts: Counts) -> None:
        """Take what is to be written."""
        add(self._held, counts)

    def lose(self, counts: Counts) -> None:
        """Note that some of what is held is lost."""
        add(self.dropped, counts)
        add(self._held, {arm: -count for arm, count in counts.items()})

    def wrote(self) -> None:
        """Note that all that is held is written."""
        add(self.written, self._held)
        self._held = {}


def said(counts: Counts) -> str:
    """Return counts as a footer has them: JSON, a list of objects."""
    rows: Sequence[dict[str, Any]] = [
        {**arm._asdict(), "count": count} for arm, count in sorted(counts.items()) if count
    ]
    return msgspec.json.encode(rows).decode()


class _Row(msgspec.Struct, frozen=True):
    route: str
    experiment: str
    target: str
    count: int


def read(text: str) -> Counts:
    """Return counts from a footer.

    Raises:
        ValueError: they are none.
    """
    return {Arm(row.route, row.experiment, row.target): row.count for row in msgspec.json.decode(text, type=list[_Row])}
