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


_GROUP_USED = Path("/sys/fs/cgroup/memory.current")
_GROUP_STATISTICS = Path("/sys/fs/cgroup/memory.stat")
_MEMORY = Path("/proc/meminfo")


def available_bytes() -> int:
    """Return how much memory can be had now, of the machine or of the container: what is only cached counts as free."""
    free = memory_bytes()
    with contextlib.suppress(OSError, KeyError, ValueError):
        free = min(free, _numbers(_MEMORY.read_text())["MemAvailable:"] * 1024)
    with contextlib.suppress(OSError, KeyError, ValueError):  # no such file; `max`
        used = int(_GROUP_USED.read_text()) - _numbers(_GROUP_STATISTICS.read_text())["inactive_file"]
        free = min(free, int(_GROUP_LIMITS[0].read_text()) - used)
    return max(free, 0)


def _numbers(text: str) -> dict[str, int]:
    """Return the first number of each line, by the line's first word."""
    return {words[0]: int(words[1]) for line in text.splitlines() if len(words := line.split()) > 1}


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
