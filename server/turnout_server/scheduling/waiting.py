"""Requests that wait: who is next, and who can go along.

The order is one of arrival, where each level of priority below the highest counts as having arrived
`PRIORITY_STEP_S` later. That never changes while a request waits, so a heap keeps it; and since time goes on, whoever
waits long enough is ahead of every newcomer.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush

from turnout_server.scheduling.item import LOWEST_PRIORITY, PRIORITY_STEP_S, Item

Entry = tuple[float, int, Item]
"""When it counts as having arrived, a number that breaks ties by arrival, and the request."""

_STALE_KEPT = 64


class Group:
    """Requests that may run together, in order."""

    __slots__ = ("heap", "rows", "size")

    def __init__(self) -> None:
        self.heap: list[Entry] = []
        """May have entries of requests that have left."""
        self.rows = 0
        self.size = 0


class Waiting:
    """Requests in order. Every method takes logarithmic time, however many kinds of requests there are."""

    __slots__ = ("_groups", "_heap", "_rows_by_level", "_sequence", "count")

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._groups: dict[Hashable, Group] = {}
        self.count = 0
        """How many requests wait."""
        self._sequence = 0
        self._rows_by_level = [0] * (LOWEST_PRIORITY + 1)

    def rows_ahead(self, level: int) -> int:
        """Return how many rows would go first if a request of *level* came now; rows of a lower level do not count."""
        return sum(self._rows_by_level[: level + 1])

    def add(self, item: Item, now: float) -> None:
        """Have *item* wait, from *now* on."""
        self._sequence += 1
        entry = (now + item.priority * PRIORITY_STEP_S, self._sequence, item)
        if item.key is not None:
            group = self._groups.get(item.key)
            if group is None:
                group = self._groups[item.key] = Group()
            heappush(group.heap, entry)
            group.rows += item.room
            group.size += item.size
        heappush(self._heap, entry)
        item.waiting = True
        self.count += 1
        self._rows_by_level[item.priority] += item.room

    def remove(self, item: Item) -> None:
        """Take out *item*, which waits. What it leaves in the heaps is passed over later."""
        item.waiting = False
        self.count -= 1
        self._rows_by_level[item.priority] -= item.room
        if item.key is not None:
            group = self._groups[item.key]
            group.rows -= item.room
            group.size -= item.size
            if not group.rows:
                del self._groups[item.key]
            elif len(group.heap) > 2 * group.rows + _STALE_KEPT:
                _drop_stale(group.heap)
        if len(self._heap) > 2 * self.count + _STALE_KEPT:
            _drop_stale(self._heap)

    def head(self) -> Item | None:
        """Return who is next."""
        return _first(self._heap)

    def group_of(self, item: Item) -> tuple[int, int]:
        """Return the rows and the size of all that wait and may run together with *item*, itself included."""
        if item.key is None:
            return item.room, item.size
        group = self._groups[item.key]
        return group.rows, group.size

    def first_of(self, key: Hashable) -> Item | None:
        """Return who is next among those with *key*."""
        group = self._groups.get(key)
        return None if group is None else _first(group.heap)


def _first(heap: list[Entry]) -> Item | None:
    while heap:
        item = heap[0][2]
        if item.waiting:
            return item
        heappop(heap)
    return None


def _drop_stale(heap: list[Entry]) -> None:
    heap[:] = [entry for entry in heap if entry[2].waiting]
    heapify(heap)
