"""A boot's counters in a small file, which outlives the process: after `kill -9` it says how much is missing.

All of them are unsigned 64-bit integers, little-endian, behind eight bytes that say what the file is. They are counted
in memory and copied into the file by a thread, some times a second. Nothing maps the file: a store into a mapped page
waits while the disk does not answer, and kills the process where somebody has cut the file off. Its blocks are there
from the start, so a full disk does not keep the counts from it; and its owner holds a lock on it, which the kernel lets
go of when the owner dies.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from turnout_server.journal.boot import BOOTS
from turnout_server.journal.schema import CAUSES

COUNTERS: Final = struct.Struct(f"<8s4Q{len(CAUSES)}Q")
MAGIC: Final = b"TURNOUT1"
SIZE: Final = 4096
OFFERED, WRITTEN, SEGMENTS, CLOSED, DROPPED = 1, 2, 3, 4, 5
"""Places of the counters, in eights of bytes; the causes' follow `DROPPED`."""


class Counters(NamedTuple):
    """What a boot's counter file says."""

    offered: int
    written: int
    """In finished segments."""
    segments: int
    """Finished."""
    is_closed: bool
    dropped: Mapping[str, int]
    is_running: bool
    """Whether its owner lives."""


class CounterFile:
    """The file of a boot that runs."""

    def __init__(self, journal: Path, name: str) -> None:
        """Make it, full of zeros, for the boot called *name*.

        Raises:
            OSError: it cannot be made; nothing is left behind.
        """
        folder = journal / BOOTS
        folder.mkdir(mode=0o700, exist_ok=True)
        self._file = folder / name
        self._storing = threading.Lock()
        self._stored = MAGIC.ljust(COUNTERS.size, b"\0")
        draft = folder / f".{name}"
        self._descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(self._descriptor, 0, SIZE)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            os.pwrite(self._descriptor, self._stored, 0)
            draft.rename(self._file)
        except BaseException:
            os.close(self._descriptor)
            draft.unlink(missing_ok=True)
            raise

    @property
    def is_gone(self) -> bool:
        """Whether somebody has removed it, or put another in its place.

        Raises:
            OSError: nobody can tell.
        """
        try:
            return not os.path.samestat(self._file.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True

    def store(self, cells: memoryview) -> None:
        """Give the file the counts in *cells*. Any thread may; the disk may keep it waiting.

        Raises:
            OSError: that cannot be done.
        """
        with self._storing:
            counts = bytes(cells)
            if counts != self._stored:
                os.pwrite(self._descriptor, counts, 0)
                self._stored = counts

    def flush(self) -> None:
        """Bring it to the disk, for the sake of power cuts.

        Raises:
            OSError: that cannot be done.
        """
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


def in_memory() -> memoryview:
    """Return counters, all 0, laid out as the file is; a store into one is one step, as other threads see it."""
    assert sys.byteorder == "little", "counter files are little-endian, and are copies of what is in memory"
    memory = bytearray(COUNTERS.size)
    memory[: len(MAGIC)] = MAGIC
    return memoryview(memory).cast("Q")


def counters_of(file: Path) -> Counters:
    """Return what a counter file says.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none.
    """
    with file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
            is_running = False
        except BlockingIOError:
            is_running = True
        raw = opened.read(COUNTERS.size)
    if len(raw) < COUNTERS.size or not raw.startswith(MAGIC):
        raise ValueError("not a counter file")
    _, offered, written, segments, closed, *dropped = COUNTERS.unpack(raw)
    return Counters(offered, written, segments, bool(closed), dict(zip(CAUSES, dropped, strict=True)), is_running)
