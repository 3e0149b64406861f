"""A boot's counters, which outlive the process: after `kill -9` they say how much is missing, to the record.

All of them are unsigned 64-bit integers, little-endian, behind eight bytes that say what they are. They are counted in
memory that is shared under a name, where the system has such a thing: that stays when the process dies, and no disk can
keep a store into it waiting. A thread copies them, some times a second, into a file in the journal, for those who read
it elsewhere or after the machine went down. The file's blocks are there from the start, so a full disk does not keep
the counts from it; and its owner holds a lock on it, which the kernel lets go of when the owner dies. Nothing maps the
file: a store into a mapped page waits for its disk, and kills the process where somebody has cut the file off.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import stat
import struct
import sys
import threading
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
SHARED: Final = Path("/dev/shm")
"""Where Linux has memory that files' names stand for."""
_PREFIX: Final = "turnout-journal-"


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
    is_exact: bool = True
    """Whether they are the last ones; else the owner may have counted on for a twentieth of a second."""


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
            with contextlib.suppress(OSError):  # it is there; only a power cut could still take it
                sync(folder)
                sync(journal)
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


class Cells:
    """A boot's counters in memory."""

    def __init__(self, name: str = "") -> None:
        """Begin at 0, in memory shared for the boot called *name* where there is such a thing, else in our own."""
        assert sys.byteorder == "little", "counters are little-endian, and are written by plain stores"
        self._shared = SHARED / f"{_PREFIX}{name}" if name else None
        memory: mmap.mmap | bytearray = bytearray(COUNTERS.size)
        if self._shared is not None:
            try:
                memory = _shared_memory(self._shared)
            except OSError:
                self._shared = None
        memory[: len(MAGIC)] = MAGIC
        self._memory = memory
        self.view = memoryview(memory).cast("Q")[: COUNTERS.size // 8]
        """A store into one of these is one step, as other threads and processes see it."""

    @property
    def shared(self) -> Path | None:
        """The file that stands for the memory; None where that is our own."""
        return self._shared

    def close(self) -> None:
        """Let go of what is shared: the counts are in the file, or nobody is to have them."""
        if self._shared is not None:
            with contextlib.suppress(OSError):
                self._shared.unlink()
            self._shared = None


def _shared_memory(file: Path) -> mmap.mmap:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, SIZE)  # a store into a hole of full memory would kill the process
        return mmap.mmap(descriptor, SIZE)
    except OSError:
        file.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def counters_of(file: Path) -> Counters:
    """Return what a counter file says, or what its boot had counted since in shared memory of this machine.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none.
    """
    # Not blocking: a pipe in its place would keep everybody waiting who looks at the journal.
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
            is_running = False
        except BlockingIOError:
            is_running = True
        raw = opened.read(COUNTERS.size)
        owner = os.fstat(opened.fileno()).st_uid
    if len(raw) < COUNTERS.size or not raw.startswith(MAGIC):
        raise ValueError("not a counter file")
    counted = _counted_in_memory(file.name, owner)
    # Both only grow. What was stored last has everything but what was counted since.
    _, *stored = COUNTERS.unpack(raw)
    offered, written, segments, closed, *dropped = map(max, stored, counted) if counted is not None else stored
    is_exact = bool(closed) or is_running or counted is not None
    lost = dict(zip(CAUSES, dropped, strict=True))
    return Counters(offered, written, segments, bool(closed), lost, is_running, is_exact)


def _counted_in_memory(name: str, owner: int) -> tuple[int, ...] | None:
    """Return what the boot called *name* has counted; None where that is not there, or not *owner*'s."""
    try:
        descriptor = os.open(SHARED / f"{_PREFIX}{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        raw = opened.read(COUNTERS.size) if stat.S_ISREG(found.st_mode) and found.st_uid == owner else b""
    if len(raw) < COUNTERS.size or not raw.startswith(MAGIC):
        return None
    return COUNTERS.unpack(raw)[1:]


def settle(file: Path) -> None:
    """Give the counter file of a boot that has ended what the boot had counted in shared memory, and free that.

    Raises:
        OSError: that cannot be done.
        ValueError: it is no counter file.
    """
    shared = SHARED / f"{_PREFIX}{file.name}"
    if not shared.exists() or (found := counters_of(file)).is_running:
        return
    raw = COUNTERS.pack(
        MAGIC, found.offered, found.written, found.segments, int(found.is_closed), *found.dropped.values()
    )
    with file.open("r+b") as opened:
        opened.write(raw)
        os.fsync(opened.fileno())
    shared.unlink()
