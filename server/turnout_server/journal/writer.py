"""Turns what waits in the ring into segments. What it cannot write it keeps while it can, then drops and counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import structlog
from arro3.core import RecordBatch

from turnout_server.config import JournalConfig
from turnout_server.journal.boot import Boot
from turnout_server.journal.columns import Encoder, ends_of, merged
from turnout_server.journal.counters import CLOSED, DROPPED, SEGMENTS, WRITTEN, CounterFile
from turnout_server.journal.exposures import Balance, Counts, add, counted
from turnout_server.journal.keys import own_keys
from turnout_server.journal.ring import Ring
from turnout_server.journal.schema import CAUSES
from turnout_server.journal.segments import Footer, SegmentFiles, Write, cause_of, discard, sweep
from turnout_server.vocabulary.errors import ConfigurationError
from turnout_server.vocabulary.record import Page, Record

BATCH_ROWS = 512
"""Rows that are made into columns at once. It is Python's lock that they hold meanwhile, for 2 µs each; those on pages
don't."""
RETRY_S = 1.0
"""How soon what failed is tried again, in seconds."""

_log = structlog.get_logger("turnout.journal")


class Writer:
    """One boot's writer. `turn` and `close` belong to one thread; `give_up` and `store` may come from others."""

    def __init__(
        self, config: JournalConfig, boot: Boot, ring: Ring, keys: Sequence[bytes] = (), write: Write | None = None
    ) -> None:
        """Make a writer that has written nothing.

        Args:
            config: where to, and when segments are finished.
            boot: whose records they are.
            ring: where they wait.
            keys: what units are hashed with, the first of them; none for the journal's own.
            write: writes a segment's file; None for DuckDB.
        """
        self._config = config
        self._journal = Path(config.path or "").absolute()  # DuckDB has its own idea of a `~` in front
        self._boot = boot
        self._ring = ring
        self._files = SegmentFiles(self._journal, boot, write)
        self._encoder = Encoder(keys[0]) if keys else None
        self._is_own_key = not keys
        self._counters: CounterFile | None = None
        self._removed: list[CounterFile] = []
        """Counter files that somebody took away; open until the end, since `store` may be at one of them."""
        self._lock = threading.Lock()
        """Held while it is settled whether rows are written or lost."""
        self._given_up = False
        # A ring that is smaller than a batch would else be emptied once a segment only, and be full until then.
        self._batch_rows = min(BATCH_ROWS, max(1, config.ring_records // 2))
        self._batches: list[RecordBatch] = []
        self._rows = 0
        """So many are held, from the first number to the last."""
        self._first_seq = self._last_seq = -1
        self._first_us = 0
        self._since: float | None = None
        self._prepare_at = self._rotate_at = float("-inf")
        self._cause = "io_error"
        self.held_bytes = 0
        self.exposures = Balance()
        self.dropped = dict.fromkeys(CAUSES[1:], 0)
        """Records that were lost, by cause, but for those that the ring had no room for."""
        self.written = self.segments = self.bytes = 0
        self.problem = ""
        """Why nothing can be written at the moment; empty when it can."""

    def warm_up(self) -> None:
        """Load what writing needs."""
        self._files.warm_up()

    # ------------------------------------------------------------ turns

    def turn(self, now: float, *, closing: bool = False) -> None:
        """Do what is due.

        Args:
            now: in seconds, on a clock that never goes back.
            closing: whether it is the last turn: everything is written, and counted as lost where that fails.
        """
        if not self._is_prepared():
            self._prepare(now, closing=closing)
        if self._since is None and len(self._ring):
            self._since = now
        due = closing or (self._since is not None and now - self._since >= self._config.rotate_s)
        while len(self._ring) >= self._batch_rows or (due and len(self._ring)):
            self._take(self._ring.take(self._batch_rows))
            if self.held_bytes >= self._config.rotate_bytes:
                self._rotate(now)
                if self.held_bytes >= self._config.rotate_bytes:
                    self._drop_held()
        if closing:
            self._close(now)
        elif due and now >= self._rotate_at:
            self._rotate(now)

    def _is_prepared(self) -> bool:
        if self._counters is None or self._encoder is None:
            return False
        try:
            return not self._counters.is_gone
        except OSError:  # writing will fail too, and say why
            return True

    def _prepare(self, now: float, *, closing: bool) -> None:
        """Make what is missing: the folder, the counters' file, the key."""
        if now < self._prepare_at and not closing:
            return
        self._prepare_at = now + RETRY_S
        try:
            self._journal.mkdir(parents=True, exist_ok=True)
            counters = self._counters
            if counters is None or counters.is_gone:
                self._counters = CounterFile(self._journal, self._boot.name)
                if counters is not None:
                    self._removed.append(counters)
                self._counters.store(self._ring.cells)
                sweep(self._journal)
            if self._is_own_key:  # it went with the folder, if that went
                self._encoder = Encoder(own_keys(self._journal)[0])
            self._say("")
        except (OSError, ConfigurationError) as error:
            self._cause = cause_of(error)
            self._say(str(error))

    def _take(self, taken: Sequence[Record | Page]) -> None:
        records = [one for one in taken if isinstance(one, Record)]
        pages = [one for one in taken if not isinstance(one, Record)]
        exposures = counted(taken)
        with self._lock:
            self.exposures.hold(exposures)
        if self._encoder is None:  # without a key nothing of a unit may be kept
            self._drop(self._cause, len(records) + sum(map(len, pages)), exposures)
            return
        batches = [*self._of_records(self._encoder, records), *self._of_pages(self._encoder, pages)]
        if not batches:
            return
        batch = batches[0] if len(batches) == 1 else merged(batches)
        first_seq, last_seq, first_us = ends_of(batch)
        if not self._batches:
            self._first_us, self._first_seq = first_us, first_seq
        self._last_seq = last_seq
        self._batches.append(batch)
        self._rows += batch.num_rows
        self.held_bytes += batch.nbytes

    def _of_records(self, encoder: Encoder, records: Sequence[Record]) -> list[RecordBatch]:
        if not records:
            return []
        try:
            return [encoder.encode(records)]
        except Exception:
            if len(records) == 1:
                self._drop("unwritable", 1, counted(records))
                return []
        # One of them is at fault, and the others are not to be lost with it.
        return [batch for record in records for batch in self._of_records(encoder, [record])]

    def _of_pages(self, encoder: Encoder, pages: Sequence[Page]) -> list[RecordBatch]:
        count, exposures = sum(map(len, pages)), counted(pages)  # to encode them uses them up
        try:
            return [encoder.encode_pages(pages)] if pages else []
        except Exception:
            self._drop("unwritable", count, exposures)
            return []

    def _rotate(self, now: float, *, closed: bool = False) -> None:
        """Finish a segment. Where that fails, its rows are kept for the next try."""
        if not self._batches and not closed:
            self._since = None
            return
        rows = self._rows
        footer = Footer(
            self._boot,
            self.segments,
            self._first_seq,
            self._last_seq,
            rows,
            self._ring.offered,
            self._lost(),
            closed,
            self.dropped_exposures(),
        )
        staged: Path | None = None
        try:
            staged = self._files.stage(self._batches, footer)
            with self._lock:
                if self._given_up:
                    discard(staged)
                    return
                self.bytes += self._files.finish(staged, self._first_us if rows else time.time_ns() // 1000)
                self.segments += 1
                self.written += rows
                self.exposures.wrote()
                self._let_go()
                self._count()
            self._flush()
            self._say("")
        except Exception as error:  # whatever disks and databases come up with
            if staged is not None:
                discard(staged)
            self._cause = cause_of(error)
            self._rotate_at = now + RETRY_S
            self._say(str(error))

    def _close(self, now: float) -> None:
        if self._ring.offered:
            self._rotate(now, closed=True)
        if self._batches:
            self._drop_held()
        with self._lock:
            if self._counters is not None:  # who gave up has settled everything, too
                self._ring.cells[CLOSED] = 1
                try:
                    self._flush()
                except OSError as error:  # it is there for all but a power cut
                    self._say(str(error))

    def give_up(self) -> None:
        """Count all that is not written as lost: the process has no time left. The writer may hang meanwhile.

        The counter file knows of it after the next `store`.

        If it hangs in the very moment of finishing a segment, nothing is settled, and the boot stays unclean.
        """
        if not self._lock.acquire(timeout=RETRY_S):
            return
        try:
            self._given_up = True
            self.dropped["closing"] += self._ring.offered - self.written - sum(self._lost().values())
            self.exposures.hold(counted(self._ring.waiting()))
            self.exposures.lose(self.exposures.held)
            self._count()
            self._ring.cells[CLOSED] = 1
        finally:
            self._lock.release()

    def store(self) -> None:
        """Give the counter file, if there is one yet, all counts as they are now. The disk may keep it waiting.

        Raises:
            OSError: that cannot be done.
        """
        counters = self._counters
        if counters is not None:
            counters.store(self._ring.cells)

    def release(self) -> None:
        """Let go of the counters' files; nothing is written any more."""
        for counters in (self._counters, *self._removed):
            if counters is not None:
                counters.close()
        self._counters = None
        self._removed.clear()

    # ------------------------------------------------------------ counting

    def _lost(self) -> dict[str, int]:
        return {"ring_full": self._ring.dropped, **self.dropped}

    def dropped_exposures(self) -> Counts:
        """Return what exposures were lost, by arm, those included that the ring had no room for. From any thread."""
        counts = dict(self._ring.dropped_exposures)
        add(counts, dict(self.exposures.dropped))
        return counts

    def _drop(self, cause: str, count: int, exposures: Counts) -> None:
        with self._lock:
            if not self._given_up:
                self.dropped[cause] += count
                self.exposures.lose(exposures)
                self._count()

    def _drop_held(self) -> None:
        count = self._rows
        self._let_go()
        self._drop(self._cause, count, self.exposures.held)

    def _let_go(self) -> None:
        self._batches, self._rows, self.held_bytes, self._since = [], 0, 0, None
        self._first_seq = self._last_seq = -1

    def _count(self) -> None:
        """Note all counts, but for the ring's own, where the counter file's are."""
        cells = self._ring.cells
        cells[WRITTEN], cells[SEGMENTS] = self.written, self.segments
        for place, cause in enumerate(CAUSES[1:], start=DROPPED + 1):
            cells[place] = self.dropped[cause]

    def _flush(self) -> None:
        self.store()
        if self._counters is not None:
            self._counters.flush()

    def _say(self, problem: str) -> None:
        """Log a change of state, once."""
        problem = " ".join(problem.split())
        if problem and not self.problem:
            _log.warning("the journal cannot be written; serving goes on, and what is lost is counted", problem=problem)
        elif self.problem and not problem:
            _log.info("the journal can be written again")
        self.problem = problem
