"""The journal of one process: takes records without ever waiting, and has a thread write them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import structlog

from turnout_server.config import JournalConfig
from turnout_server.journal.boot import Boot
from turnout_server.journal.counters import OFFERED, Cells
from turnout_server.journal.keys import keys_in
from turnout_server.journal.ring import Ring
from turnout_server.journal.segments import Write
from turnout_server.journal.writer import Writer
from turnout_server.vocabulary.errors import ConfigurationError
from turnout_server.vocabulary.exposure import Arm

TURN_S = 0.1
"""How often the writer looks at what waits, in seconds."""
STORE_S = 0.05
"""How often the counter file gets the counts, in seconds."""
LAST_STORE_S = 1.0
"""What the counts get to be stored once all is settled, in seconds."""
CLOSE_S = 5.0
"""What the last records get to be written once the process ends, in seconds."""

_log = structlog.get_logger("turnout.journal")


class Counts(NamedTuple):
    """How a journal is doing."""

    offered: int
    written: int
    dropped: Mapping[str, int]
    """By cause."""
    segments: int
    bytes: int
    """Of finished segments."""
    problem: str
    """Why nothing can be written at the moment; empty when it can."""
    written_exposures: Mapping[Arm, int]
    """Exposures in finished segments, by arm."""
    dropped_exposures: Mapping[Arm, int]
    """Those that are lost."""

    @property
    def waiting(self) -> int:
        """Records that are neither written nor lost."""
        return self.offered - self.written - sum(self.dropped.values())


class Journal:
    """A reader of records that keeps them."""

    def __init__(self, ring: Ring, writer: Writer, cells: Cells) -> None:
        self._ring = ring
        self._cells = cells
        self._writer = writer
        self.append = ring.append
        """Take a record; never waits, never fails."""
        self.extend = ring.extend
        """Take the records of the native data plane, likewise."""

    def counted_by(self, count_in: Callable[[Path, int], None]) -> None:
        """Have somebody count the records that come, who knows of them before they do.

        Args:
            count_in: told of the file, and of the place in it, where the count is to stand.
        """
        if self._cells.shared is not None:
            count_in(self._cells.shared, 8 * OFFERED)
            self._ring.are_counted_elsewhere = True

    def counts(self) -> Counts:
        """Return how it is doing."""
        ring, writer = self._ring, self._writer
        dropped = {"ring_full": ring.dropped, **writer.dropped}
        counts = ring.offered, writer.written, dropped, writer.segments, writer.bytes, writer.problem
        return Counts(*counts, dict(writer.exposures.written), writer.dropped_exposures())


@contextlib.contextmanager
def opening(
    config: JournalConfig, boot: Boot, *, close_s: float = CLOSE_S, write: Write | None = None
) -> Iterator[Journal]:
    """Keep a journal while the context lasts. At its end what waits is written, for *close_s* seconds at most.

    Files are written by *write*, or else by DuckDB.

    A disk that is full, forbidden or broken is no error: it is logged, and tried again.

    Raises:
        ConfigurationError: the path is a file, or the key file cannot be used.
    """
    path = Path(config.path or "")
    if config.path is None or (path.exists() and not path.is_dir()):
        raise ConfigurationError(f"journal.path: {config.path}: expected a directory")
    keys = keys_in(Path(config.key_file)) if config.key_file is not None else ()
    cells = Cells(boot.name)
    ring = Ring(config.ring_records, cells)
    writer = Writer(config, boot, ring, keys, write)
    stop, settled = threading.Event(), threading.Event()
    thread = threading.Thread(target=_write, args=(writer, stop), name="journal", daemon=True)
    counting = threading.Thread(target=_count, args=(writer, settled), name="journal-counts", daemon=True)
    thread.start()
    counting.start()
    try:
        yield Journal(ring, writer, cells)
    finally:
        stop.set()
        thread.join(close_s)
        if thread.is_alive():
            _log.error("the journal's disk does not answer; the last records are lost", seconds=close_s)
            writer.give_up()
        settled.set()
        counting.join(LAST_STORE_S)
        if not thread.is_alive() and not counting.is_alive():
            writer.release()
            cells.close()


def _write(writer: Writer, stop: threading.Event) -> None:
    """Take turns until *stop*; then the last one."""
    _safely(writer.warm_up)
    while not stop.wait(TURN_S):
        _safely(lambda: writer.turn(time.monotonic()))
    _safely(lambda: writer.turn(time.monotonic(), closing=True))


def _count(writer: Writer, settled: threading.Event) -> None:
    """Store the counts, whatever the writer waits for, until they are *settled*; then the last time."""
    while not settled.wait(STORE_S):
        with contextlib.suppress(OSError):  # the writer finds out too, and says so
            writer.store()
    _safely(writer.store)


def _safely(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        _log.exception("the journal's writer failed; it goes on")
