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

_TAGS_KEPT = 8


class Shares:
    """Divides worker threads among versions."""

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
        self._wanting: dict[Hashable, None] = {}

    @property
    def idle(self) -> int:
        """How many cores no run is using."""
        return max(self._cores - self._total, 0)

    def may_start(self, version: Hashable) -> bool:
        """Say whether *version* may start a run now; nobody who has waited for that is passed over."""
        if self._total >= self._threads:
            return False
        others = [other for other in self._wanting if other != version]
        if not self._running.get(version):
            # Those without any run wait for the very thread that has come free.
            return all(self._running.get(other) for other in others)
        return self._total < self._limit and not others

    def want(self, version: Hashable) -> None:
        """Note that *version* has work for which it may not start a run yet."""
        self._wanting[version] = None

    def forgo(self, version: Hashable) -> None:
        """Note that it has none any more."""
        self._wanting.pop(version, None)

    def next(self) -> Hashable | None:
        """Return which of the versions that want it may start a run now, and take it off the list."""
        if self._total >= self._threads:
            return None
        able = [version for version in self._wanting if self._total < self._limit or not self._running.get(version)]
        if not able:
            return None
        chosen = min(able, key=lambda version: (bool(self._running.get(version)), self._tags.get(version, 0.0)))
        del self._wanting[chosen]
        return chosen

    def start(self, version: Hashable, cost_ns: float) -> None:
        """Note that *version* starts a run that should take *cost_ns* nanoseconds."""
        self._total += 1
        self._running[version] = self._running.get(version, 0) + 1
        start = max(self._now, self._tags.get(version, 0.0))
        self._now = start
        if len(self._tags) > 2 * len(self._running) + _TAGS_KEPT:
            # A version that has gone must not be kept in memory by what it has used.
            self._tags = {each: tag for each, tag in self._tags.items() if tag > start}
        self._tags[version] = start + cost_ns

    def finish(self, version: Hashable) -> None:
        """Note that a run of *version* has ended."""
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
