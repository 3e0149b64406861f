"""What the server holds, as the operating system sees it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import psutil

MIB = 1024 * 1024
_NUMBER = re.compile(r"\[?\d+\]?")


class Holdings(NamedTuple):
    """Memory, threads and open files."""

    rss_mib: float
    threads: int
    files: Counter[str]
    """Open files by what they are: `socket:`, `anon_inode:[eventpoll]`, a path without its numbers."""

    def __str__(self) -> str:
        """Say it for people."""
        return f"{self.rss_mib:.1f} MiB, {self.files.total()} files, {self.threads} threads"


def holdings(pid: int) -> Holdings:
    """Look at a process.

    Raises:
        psutil.NoSuchProcess, FileNotFoundError: it is gone.
    """
    process = psutil.Process(pid)
    files: Counter[str] = Counter()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue  # it was closed in this moment
        files[_NUMBER.sub("", target)] += 1
    return Holdings(process.memory_info().rss / MIB, process.num_threads(), files)


def grown(before: Holdings, after: Holdings, mib: float, threads: int) -> list[str]:
    """Return what has grown: memory by more than *mib*, threads by more than *threads*, and files at all."""
    problems = []
    if after.rss_mib - before.rss_mib > mib:
        problems.append(f"the memory grew from {before.rss_mib:.1f} to {after.rss_mib:.1f} MiB")
    if after.files.total() > before.files.total():
        problems.append(f"the open files grew from {before.files.total()} by {dict(after.files - before.files)}")
    if after.threads - before.threads > threads:
        problems.append(f"the threads grew from {before.threads} to {after.threads}")
    return problems
