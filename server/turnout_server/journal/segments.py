"""Finished files: written aside, with a footer that says what they hold, and shown by one rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import duckdb
from arro3.core import RecordBatch, Table

from turnout_server.journal import exposures
from turnout_server.journal.boot import BOOTS, Boot
from turnout_server.journal.columns import SCHEMA, empty_columns, own_columns
from turnout_server.journal.counters import counters_of, settle
from turnout_server.journal.exposures import Counts
from turnout_server.journal.schema import COLUMNS, PARQUET, STAGING, VERSION
from turnout_server.journal.sync import sync

_CAUSES: Final = {
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EACCES: "no_permission",
    errno.EPERM: "no_permission",
    errno.EROFS: "no_permission",
}
_ERRNO: Final = re.compile(r'"errno":\s*"?(\d+)')


class Footer(NamedTuple):
    """What a segment says of itself, and of its boot until then."""

    boot: Boot
    segment: int
    """Counted from 0 in each boot, without a gap."""
    first_seq: int
    """-1 in a segment without rows."""
    last_seq: int
    written: int
    """Rows."""
    offered: int
    """Since the boot began."""
    dropped: Mapping[str, int]
    """By cause, since the boot began."""
    closed: bool
    """Whether it is the boot's last."""
    dropped_exposures: Counts | None = None
    """Exposures among what was dropped, by arm, since the boot began; None where nobody knows."""

    def pairs(self) -> dict[str, str]:
        """Return it as the file's metadata."""
        lost = self.dropped_exposures
        known = {} if lost is None else {"turnout.dropped_exposures": exposures.said(lost)}
        return known | {
            "turnout.schema": str(VERSION),
            "turnout.instance": self.boot.instance,
            "turnout.boot": self.boot.boot,
            "turnout.segment": str(self.segment),
            "turnout.first_seq": str(self.first_seq),
            "turnout.last_seq": str(self.last_seq),
            "turnout.written": str(self.written),
            "turnout.dropped": json.dumps(self.dropped),
            "turnout.offered": str(self.offered),
            "turnout.forgotten": "0",
            "turnout.closed": "true" if self.closed else "false",
        }


Write = Callable[[Path, Sequence[tuple[str, str, str | int | None]], Sequence[RecordBatch], dict[str, str]], None]
"""Writes one Parquet file: its columns, each with its type in DuckDB's words and with what all rows have there, if they
have; rows, in batches; and what the file says of itself. Raises OSError or ValueError where that cannot be done."""


class SegmentFiles:
    """Writes one boot's segments. One thread only."""

    def __init__(self, journal: Path, boot: Boot, write: Write | None = None) -> None:
        """Write below *journal*; nothing is made yet.

        Args:
            journal: the journal's folder.
            boot: whose segments they are.
            write: writes a file at a fraction of what DuckDB takes; None for DuckDB.
        """
        self._journal = journal
        self._boot = boot
        self._write = write
        self._own = own_columns(boot)
        self._database: duckdb.DuckDBPyConnection | None = None

    def warm_up(self) -> None:
        """Load what writing needs, which takes some tenths of a second the first time."""
        if self._write is None:
            self._connection().execute("SELECT 1").fetchall()

    def stage(self, batches: Sequence[RecordBatch], footer: Footer) -> Path:
        """Write a segment aside, down to the disk; return where. What a failure leaves behind is removed.

        Raises:
            OSError, ValueError, duckdb.Error: it cannot be written; see `cause_of`.
        """
        staging = self._journal / STAGING
        staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        staged = staging / f"{self._boot.name}-{footer.segment}.parquet"
        try:
            if self._write is not None:
                columns = [(name, kind, self._own.get(name)) for name, kind in COLUMNS.items()]
                self._write(staged, columns, batches, footer.pairs())
            else:
                self._copy(staged, batches, footer.pairs())
            sync(staged)
        except BaseException:
            discard(staged)
            raise
        return staged

    def finish(self, staged: Path, arrived_us: int) -> int:
        """Show a staged segment, whose first record arrived then; return its size in bytes.

        Raises:
            OSError: that cannot be done.
        """
        size = staged.stat().st_size
        folder = self._journal / datetime.fromtimestamp(arrived_us / 1e6, UTC).strftime("date=%Y-%m-%d/hour=%H")
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        staged.rename(folder / staged.name)
        with contextlib.suppress(OSError):  # it is there; only a power cut could still take it
            for named in (folder, folder.parent, self._journal) if is_new else (folder,):
                sync(named)
        return size

    def _copy(self, staged: Path, batches: Sequence[RecordBatch], said: Mapping[str, str]) -> None:
        pairs = ", ".join(f"{_quoted(name)}: {_quoted(value)}" for name, value in said.items())
        database = self._connection()
        database.register("batches", Table.from_batches(batches, schema=SCHEMA))
        try:
            database.execute(
                f"COPY (SELECT {self._columns(batches)} FROM batches) TO {_quoted(str(staged))}"
                f" ({PARQUET}, USE_TMP_FILE false, KV_METADATA {{{pairs}}})"
            )
        finally:
            database.unregister("batches")

    def _columns(self, batches: Sequence[RecordBatch]) -> str:
        """Return what is selected of *batches*. Where none of them has anything in a column, that is said once."""
        said = self._own | dict.fromkeys(empty_columns(batches))
        return ", ".join(
            f'{_value(said[name])}::{kind} AS "{name}"' if name in said else f'"{name}"'
            for name, kind in COLUMNS.items()
        )

    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._database is None:
            self._database = duckdb.connect(
                config={
                    "threads": 1,
                    "memory_limit": "512MB",
                    "temp_directory": "",
                    "autoload_known_extensions": False,
                    "autoinstall_known_extensions": False,
                }
            )
        return self._database


def sweep(journal: Path) -> None:
    """Tidy up after boots that have ended without closing. What cannot be looked at is left alone.

    Their unfinished segments go, and their counter files get what they had counted last.
    """
    with contextlib.suppress(OSError):
        for counters in (journal / BOOTS).iterdir():
            with contextlib.suppress(OSError, ValueError):
                settle(counters)
    with contextlib.suppress(OSError):
        for staged in (journal / STAGING).iterdir():
            boot = staged.name.rpartition("-")[0]
            try:
                is_running = counters_of(journal / BOOTS / boot).is_running
            except (OSError, ValueError):
                continue
            if not is_running:
                discard(staged)


def cause_of(error: BaseException) -> str:
    """Return why a segment could not be written, as losses are counted."""
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    if number is None and (found := _ERRNO.search(text)) is not None:
        number = int(found[1])
    if number is None:  # the database has some of the system's errors as text only
        number = next((code for code in _CAUSES if os.strerror(code) in text), None)
    return _CAUSES.get(number or 0, "io_error")


def discard(path: Path) -> None:
    """Remove a file, if that can be done."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _value(value: str | int | None) -> str:
    return "NULL" if value is None else _quoted(str(value))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
