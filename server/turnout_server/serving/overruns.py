"""Which versions are to be withdrawn: those whose runs had to be ended again and again."""

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

    def note(self, key: VersionKey, timeout_s: float, now: float) -> int:
        """Note one that has been ended, and return how many there were lately; at `MOST`, counting begins anew.

        Args:
            key: whose it was.
            timeout_s: how long it may have taken, in seconds.
            now: in seconds.
        """
        ended = self._ended.setdefault(key, deque(maxlen=MOST))
        while ended and now - ended[0] > WITHIN_S + MOST * timeout_s:
            ended.popleft()
        ended.append(now)
        count = len(ended)
        if count == MOST:
            del self._ended[key]
        return count
