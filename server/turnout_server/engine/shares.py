"""Threads, divided among the runs of both data planes: Python's are counted with those of the engine's shards."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from weakref import WeakValueDictionary

from turnout_server.engine.plane import EnginePlane
from turnout_server.scheduling.shares import Sharer


class EngineShares:
    """A `turnout_server.scheduling.shares.Divides`. The event loop's thread only."""

    def __init__(self, plane: EnginePlane, cores: int) -> None:
        """Begin with no runs of Python's.

        Args:
            plane: has the shares of all.
            cores: what runs take place on.
        """
        self._plane = plane.inner
        self._cores = cores
        self._versions = WeakValueDictionary[int, Sharer]()
        """Those that have wanted a run, by their numbers."""
        self._chosen = deque[int]()

    @property
    def idle(self) -> int:
        """See `Divides.idle`. Runs on the engine's reactors and on the event loop are short, and do not count."""
        return max(self._cores - self._plane.runs, 0)

    def start_or_want(self, version: Sharer, cost_ns: float) -> bool:
        """See `Divides.start_or_want`."""
        may_start = self._plane.start_or_want(version.number, cost_ns)
        if not may_start:
            self._versions[version.number] = version
        return may_start

    def forgo(self, version: Sharer) -> None:
        """See `Divides.forgo`. Who is chosen in this very moment hears of it all the same."""
        self._plane.forgo(version.number)

    def finish(self, version: Sharer) -> None:
        """See `Divides.finish`."""
        self._plane.finish(version.number)

    def start_next(self) -> Sharer | None:
        """See `Divides.start_next`."""
        while self._chosen or self._take_chosen():
            number = self._chosen.popleft()
            version = self._versions.get(number)
            if version is not None:
                return version
            self._plane.finish(number)  # it has gone in the meantime
        return None

    def _take_chosen(self) -> bool:
        self._chosen.extend(self._plane.chosen())
        return bool(self._chosen)

    @contextlib.contextmanager
    def telling(self, loop: asyncio.AbstractEventLoop, told: Callable[[], None]) -> Iterator[None]:
        """Call *told* whenever there is somebody for `start_next` to return, until the context ends."""
        loop.add_reader(self._plane.fileno(), told)
        try:
            yield
        finally:
            loop.remove_reader(self._plane.fileno())
