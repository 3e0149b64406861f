"""What this process may take of the machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_GROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
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
    """Return how much memory there is, of the machine or of the container."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _GROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file; `max`
            whole = min(whole, int(limit.read_text()))
    return whole
