"""Whether a mirror's copy would be in anybody's way."""

from __future__ import annotations

from typing import NamedTuple

MOST_WAITING = 16
"""Requests that may wait anywhere while a cheap copy still runs. Under overload many more do, and copies go first."""


class Load(NamedTuple):
    """How busy a process is, seen from one version."""

    here: int
    """Requests that wait for the version."""
    everywhere: int
    """Requests that wait for any version."""
    idle_cores: int
    """Cores that no run in a thread is using."""


def has_room(load: Load, *, cheap: bool) -> bool:
    """Say whether a copy may run.

    A dear one takes a core from somebody unless one is idle. A *cheap* one runs on the event loop between requests, for
    no longer than handing it to a thread would take; it only has to wait until nobody else waits for long.
    """
    if cheap:
        return load.everywhere < MOST_WAITING
    return not load.here and load.idle_cores > 0
