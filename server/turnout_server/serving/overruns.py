"""Which versions are to be withdrawn: those of whose runs several in a row had to be ended."""

from __future__ import annotations

from collections import deque

from turnout_server.vocabulary.versions import VersionKey

MOST = 3
"""So many runs that were ended are too many."""
WITHIN_S = 60.0
"""In so many seconds, besides those that the runs themselves took."""


class Overruns:
    """Counts runs that were ended because they took too long. The clock is handed in."""

    def __init__(self) -> None:
        self._ended: dict[VersionKey, deque[float]] = {}
        """When, of each version's last ones."""
        self._well: dict[VersionKey, int] = {}
        """How many of its runs had gone well by then."""

    def note(self, key: VersionKey, timeout_s: float, now: float, well: int) -> int:
        """Note one that has been ended, and return how many there were lately; at `MOST`, counting begins anew.

        Args:
            key: whose it was.
            timeout_s: how long it may have taken, in seconds.
            now: in seconds.
            well: how many of its runs have gone well. A version that does its work is not withdrawn for what some ask
                of it.
        """
        ended = self._ended.setdefault(key, deque(maxlen=MOST))
        if self._well.get(key) != well:
            ended.clear()
        self._well[key] = well
        while ended and now - ended[0] > WITHIN_S + MOST * timeout_s:
            ended.popleft()
        ended.append(now)
        count = len(ended)
        if count == MOST:
            del self._ended[key]
        return count
