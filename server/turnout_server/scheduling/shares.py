"""Which version may start a run in a worker next.

Each version may always have one run under way, so nobody waits for another's long run: there are more worker threads
than cores, and the system divides the cores among them. Further runs start only while there are fewer than a limit, and
go to the version that has had the least time so far (start-time fair queueing: P. Goyal, H. Vin, H. Cheng,
"Start-Time Fair Queuing", SIGCOMM 1996, with equal weights).

The limit is one more than there are cores, unless somebody sets it: from the end of a run until the next one has been
handed over, its core would have nothing to do.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

_TAGS_KEPT = 8


class Sharer(Hashable, Protocol):
    """A version that runs."""

    @property
    def number(self) -> int:
        """What it is called, in this process only."""


class Divides(Protocol):
    """Divides worker threads among versions. Another data plane may have a part in them, in threads of its own."""

    @property
    def idle(self) -> int:
        """How many cores no run is using."""

    def start_or_want(self, version: Sharer, cost_ns: float) -> bool:
        """Start a run of *version* that should take *cost_ns* nanoseconds, if it may start one now.

        Else note that it wants one, and return False. Nobody who has waited for that is passed over.
        """

    def forgo(self, version: Sharer) -> None:
        """Note that *version* has no work for which it would start a run any more."""

    def finish(self, version: Sharer) -> None:
        """Note that a run of *version* has ended."""

    def start_next(self) -> object | None:
        """Return which of the versions that want it may start a run now. It counts as started, until `finish`."""


class Shares:
    """A `Divides` of this process's Python alone. Versions may be called anything."""

    __slots__ = ("_cores", "_limit", "_now", "_running", "_tags", "_threads", "_total", "_wanting")

    def __init__(self, cores: int, limit: int, threads: int) -> None:
        """Begin with no runs.

        Args:
            cores: what runs take place on.
            limit: runs at once, if one version alone has work.
            threads: runs at once, whatever happens; at least *limit*.
        """
        self._cores = cores
        self._limit = limit
        self._threads = threads
        self._running: dict[Hashable, int] = {}
        self._total = 0
        self._now = 0.0
        """The virtual time: the start tag of the run that was started last."""
        self._tags: dict[Hashable, float] = {}
        """Up to where a version has used its share, for those ahead of the virtual time."""
        self._wanting: dict[Hashable, float] = {}
        """With the nanoseconds that the run should take."""

    @property
    def idle(self) -> int:
        """See `Divides.idle`."""
        return max(self._cores - self._total, 0)

    def start_or_want(self, version: Hashable, cost_ns: float) -> bool:
        """See `Divides.start_or_want`."""
        may_start = self._may_start(version)
        if may_start:
            self._start(version, cost_ns)
        else:
            self._wanting.setdefault(version, cost_ns)
        return may_start

    def _may_start(self, version: Hashable) -> bool:
        if self._total >= self._threads:
            return False
        others = [other for other in self._wanting if other != version]
        if not self._running.get(version):
            # Those without any run wait for the very thread that has come free.
            return all(self._running.get(other) for other in others)
        return self._total < self._limit and not others

    def forgo(self, version: Hashable) -> None:
        """See `Divides.forgo`."""
        self._wanting.pop(version, None)

    def start_next(self) -> Hashable | None:
        """See `Divides.start_next`."""
        if self._total >= self._threads:
            return None
        able = [version for version in self._wanting if self._total < self._limit or not self._running.get(version)]
        if not able:
            return None
        chosen = min(able, key=lambda version: (bool(self._running.get(version)), self._tags.get(version, 0.0)))
        self._start(chosen, self._wanting.pop(chosen))
        return chosen

    def _start(self, version: Hashable, cost_ns: float) -> None:
        self._total += 1
        self._running[version] = self._running.get(version, 0) + 1
        start = max(self._now, self._tags.get(version, 0.0))
        self._now = start
        if len(self._tags) > 2 * len(self._running) + _TAGS_KEPT:
            # A version that has gone must not be kept in memory by what it has used.
            self._tags = {each: tag for each, tag in self._tags.items() if tag > start}
        self._tags[version] = start + cost_ns

    def finish(self, version: Hashable) -> None:
        """See `Divides.finish`."""
        self._total -= 1
        left = self._running[version] - 1
        if left:
            self._running[version] = left
        else:
            del self._running[version]
            if self._tags.get(version, 0.0) <= self._now:
                self._tags.pop(version, None)
            if not self._total and not self._wanting:
                self._tags.clear()
                self._now = 0.0
