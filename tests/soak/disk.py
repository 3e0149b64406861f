"""A disk that lies to one process: `disk.c`, compiled here and preloaded there; told by a byte that both map."""

from __future__ import annotations

import mmap
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

SOURCE = Path(__file__).with_name("disk.c")


class Lie(IntEnum):
    """What the disk does; as in `disk.c`."""

    NONE = 0
    BROKEN = 1
    """Every look at the store is an EIO."""
    SLOW = 2
    """Every look at the store takes its time."""
    FULL = 3
    """There is no room for the journal."""


class Disk:
    """What one process is told of the store and the journal."""

    def __init__(self, workshop: Path, store: Path, journal: Path) -> None:
        """Compile what stands between the process and libc; without a compiler, or Linux, it cannot lie."""
        self.environment: dict[str, str] = {}
        """What the process has to be started with."""
        compiler = shutil.which("cc") if sys.platform == "linux" else None
        self.lies = compiler is not None
        """Whether it can lie."""
        if compiler is None:
            return
        library, told = workshop / "disk.so", workshop / "disk"
        command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)
        told.write_bytes(bytes(4))
        with told.open("r+b") as file:
            self._told = mmap.mmap(file.fileno(), 4)
        self.environment = {
            "LD_PRELOAD": str(library),
            "SOAK_DISK": str(told),
            "SOAK_STORE": str(store),
            "SOAK_JOURNAL": str(journal),
        }

    @contextmanager
    def lying(self, lie: Lie, takes_s: float = 0.0) -> Iterator[None]:
        """Lie inside; *takes_s* is how long a slow look takes, in tenths of a second."""
        self._told[1] = round(takes_s * 10)
        self._told[0] = lie
        try:
            yield
        finally:
            self._told[0] = Lie.NONE
