"""What this process may take of the machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
"""Which groups this process is in, one hierarchy a line: number, what it counts, path."""
_GROUP_LIMITS = (_GROUPS / "memory.max", _GROUPS / "memory/memory.limit_in_bytes")
"""Where a container finds what it may take."""


def memory_bytes() -> int:
    """Return how much memory there is, of the machine, of the container, or of the group that this process is in."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (*_GROUP_LIMITS, *_own_limits()):
        with contextlib.suppress(OSError, ValueError):  # no such file; `max`
            whole = min(whole, int(limit.read_text()))
    return whole


def _own_limits() -> Iterator[Path]:
    """Return where the limits stand of the groups that this process is in: a service manager's, without a container."""
    with contextlib.suppress(OSError):
        for line in _OWN.read_text().splitlines():
            _, counts, path = (*line.split(":", 2), "", "")[:3]
            if not counts:
                root, name = _GROUPS, "memory.max"
            elif "memory" in counts.split(","):
                root, name = _GROUPS / "memory", "memory.limit_in_bytes"
            else:
                continue
            group = root / path.lstrip("/")
            for one in (group, *group.parents):
                if one == root:
                    break
                yield one / name
