"""A group of processes that may take so much memory and no more, as a container is one: Linux's cgroups, version 1."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

MEMORY = Path("/sys/fs/cgroup/memory")
_MOST = "memory.limit_in_bytes"
_PEAK = "memory.max_usage_in_bytes"
_FAILURES = "memory.failcnt"


class NoMemoryGroupError(Exception):
    """No such group can be made here; the text says why."""


class MemoryGroup:
    """One group."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def enter(self) -> None:
        """Put this process into it; those that it starts from then on are in it, too."""
        (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    def peak(self) -> int:
        """Return the most bytes that the group has had since it was last asked, page cache and all."""
        peak = self._folder / _PEAK
        most = int(peak.read_text())
        peak.write_text("0")
        return most

    def was_full(self) -> int:
        """Return how often there was no more to be had: the kernel then takes back page cache, or ends a process."""
        return int((self._folder / _FAILURES).read_text())


@contextlib.contextmanager
def memory_group(nbytes: int) -> Iterator[MemoryGroup]:
    """Make a group that may take *nbytes*, and remove it once it is empty.

    Raises:
        NoMemoryGroupError: none can be made.
    """
    folder = MEMORY / f"turnout-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        raise NoMemoryGroupError(f"no memory cgroup can be made: {error.strerror}") from error
    try:
        try:
            (folder / _MOST).write_text(str(nbytes))
            # Without this it would swap in place of running out, where there is swap. Not every kernel counts that.
            with contextlib.suppress(OSError):
                (folder / "memory.memsw.limit_in_bytes").write_text(str(nbytes))
            (folder / _PEAK).write_text("0")
        except OSError as error:
            raise NoMemoryGroupError(f"a memory cgroup can't be bounded: {error.strerror}") from error
        yield MemoryGroup(folder)
    finally:
        for _ in range(50):
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.1)  # its last process is being taken apart
