"""What this process may take of the machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_GROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container finds what it may take."""


def memory_bytes() -> int:
    """Return how much memory there is, of the machine or of the container."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _GROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file; `max`
            whole = min(whole, int(limit.read_text()))
    return whole
