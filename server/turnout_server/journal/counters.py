"""A boot's counters in a small mapped file, which outlives the process: it makes the truth exact after `kill -9`.

All of them are unsigned 64-bit integers, little-endian, behind eight bytes that say what the file is. The file's blocks
are there from the start, since a store into a hole of a full disk would kill the process; and its owner holds a lock on
it, which the kernel lets go of when the owner dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from turnout_server.journal.boot import BOOTS
from turnout_server.journal.schema import CAUSES
from turnout_server.journal.sync import sync

COUNTERS: Final = struct.Struct(f"<8s4Q{len(CAUSES)}Q")
MAGIC: Final = b"TURNOUT1"
SIZE: Final = 4096
OFFERED, WRITTEN, SEGMENTS, CLOSED, DROPPED = 1, 2, 3, 4, 5
"""Places of the counters, in eights of bytes; the causes' follow `DROPPED`."""
_CELLS: Final = COUNTERS.size // 8


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
        draft = folder / f".{name}"
        self._descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(self._descriptor, 0, SIZE)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self._map = mmap.mmap(self._descriptor, SIZE)
            self._map[: len(MAGIC)] = MAGIC
            draft.rename(folder / name)
            with contextlib.suppress(OSError):  # it is there; only a power cut could still take it
                sync(folder)
                sync(journal)
        except BaseException:
            os.close(self._descriptor)
            draft.unlink(missing_ok=True)
            raise
        self.cells = cells_of(self._map)

    def flush(self) -> None:
        """Bring it to the disk, for the sake of power cuts."""
        self._map.flush()

    def close(self) -> None:
        """Let go of it."""
        self.cells.release()
        self._map.close()
        os.close(self._descriptor)


def cells_of(memory: mmap.mmap | bytearray) -> memoryview:
    """Return *memory* as the counters: one store into one of them is one step, as others see it."""
    assert sys.byteorder == "little", "counter files are little-endian, and are written by plain stores"
    return memoryview(memory).cast("Q")


def in_memory() -> memoryview:
    """Return counters without a file, for as long as none can be made."""
    return cells_of(bytearray(_CELLS * 8))


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
