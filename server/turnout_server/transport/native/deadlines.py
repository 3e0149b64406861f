"""The deadlines of all calls in progress, with one timer for all of them.

Most calls end long before their deadline. Setting a timer of the event loop for each costs more than the heap here.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Final, Protocol

_FEWEST: Final = 256
"""Below this many, entries that are over are left to lie."""


class Expires(Protocol):
    """What has a deadline."""

    def expire(self) -> None:
        """Hear that it has passed."""


class Entry:
    """One deadline."""

    __slots__ = ("at", "call")

    def __init__(self, at: float, call: Expires) -> None:
        self.at = at
        self.call: Expires | None = call

    def __lt__(self, other: Entry) -> bool:
        return self.at < other.at


class Deadlines:
    """Tells calls that their deadline has passed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        """Begin with none. *clock* is what deadlines are on, in seconds."""
        self._loop = loop
        self._clock = clock
        self._heap: list[Entry] = []
        self._over = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, call: Expires) -> Entry:
        """Tell *call* at *at*, unless `remove` comes first."""
        entry = Entry(at, call)
        heapq.heappush(self._heap, entry)
        if self._timer is None or at < self._timer_at:
            self._set_timer(at)
        return entry

    def remove(self, entry: Entry) -> None:
        """Forget a deadline."""
        if entry.call is None:
            return
        entry.call = None
        self._over += 1
        if self._over > _FEWEST and self._over * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry.call is not None]
            heapq.heapify(self._heap)
            self._over = 0

    def close(self) -> None:
        """Tell nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._heap.clear()

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(at - self._clock(), 0.0), self._ring)

    def _ring(self) -> None:
        self._timer = None
        heap, now = self._heap, self._clock()
        expired: list[Expires] = []
        while heap and (heap[0].call is None or heap[0].at <= now):
            call = heapq.heappop(heap).call
            if call is None:
                self._over -= 1
            else:
                expired.append(call)
        if heap:
            self._set_timer(heap[0].at)
        for call in expired:
            call.expire()
