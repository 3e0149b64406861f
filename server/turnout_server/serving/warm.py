"""What stays loaded for a while though nothing names it any more, so that going back needs no load."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from turnout_server.vocabulary.versions import VersionKey

MOST = 4
"""Versions that are kept at once, unless said otherwise."""


class Warm:
    """Remembers what labels and routes have left, and when. It decides, and touches nothing; the clock is handed in."""

    def __init__(self, keep_s: float, most: int = MOST) -> None:
        """Keep each version for *keep_s* seconds, and *most* at once: those that were left last."""
        self._keep_s = keep_s
        self._most = most
        self._in_use: frozenset[VersionKey] = frozenset()
        self._left: dict[VersionKey, float] = {}
        """When each was left, oldest first."""

    def follow(self, in_use: frozenset[VersionKey], now: float) -> None:
        """Note what is named no longer since the last time; what is named again is not warm but in use.

        Args:
            in_use: what labels and routes stand on now.
            now: in seconds.
        """
        if in_use != self._in_use:
            for key in in_use & self._left.keys():
                del self._left[key]
            for key in sorted(self._in_use - in_use):
                self._left[key] = now
            self._in_use = in_use
        kept = [(key, left) for key, left in self._left.items() if left + self._keep_s > now]
        self._left = dict(kept[max(0, len(kept) - self._most) :])

    def ends(self, now: float) -> Mapping[VersionKey, float]:
        """Return what is to stay loaded, if it is, and until when, in seconds of the same clock."""
        return {key: left + self._keep_s for key, left in self._left.items() if left + self._keep_s > now}

    def yield_to(self, needed: int, free: int, size_of: Callable[[VersionKey], int]) -> tuple[VersionKey, ...]:
        """Give up as many as have to go so that *needed* bytes are free, what was left first first, and return them.

        Args:
            needed: bytes that another version needs.
            free: bytes that there are.
            size_of: how many bytes a version would give back; 0 for one that is not loaded.
        """
        given_up = []
        for key in tuple(self._left):
            if free >= needed:
                break
            del self._left[key]
            size = size_of(key)
            free += size
            if size:
                given_up.append(key)
        return tuple(given_up)
