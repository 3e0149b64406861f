"""Finished files of outcomes: written aside, brought to the disk, and shown by one rename."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
from arro3.core import Array, DataType, Field, RecordBatch, Schema, Table

from turnout_server.journal.boot import Boot
from turnout_server.journal.reading import literal
from turnout_server.journal.schema import PARQUET
from turnout_server.journal.segments import Write, discard
from turnout_server.journal.sync import sync
from turnout_server.outcomes.inbox import Waiting
from turnout_server.outcomes.schema import COLUMNS, FOLDER, VERSION

STAGING = "outcomes/.staging"
"""Where files are until they are finished, below a journal."""
SOURCE: Final = "service"
"""What rows say of where they came from."""
_TYPES: Final = {
    "BIGINT": DataType.int64(),
    "VARCHAR": DataType.string(),
    "DOUBLE": DataType.float64(),
    "BLOB": DataType.binary(),
    "TIMESTAMPTZ": DataType.timestamp("us", tz="UTC"),
}
_SAME: Final[Mapping[str, str | int]] = {"schema": VERSION, "source": SOURCE}
"""What all rows of a file have there."""
_ARROW: Final = {name: _TYPES[kind] for name, kind in COLUMNS.items() if name not in _SAME}
_SCHEMA: Final = Schema([Field(name, kind, nullable=True) for name, kind in _ARROW.items()])


class OutcomeFiles:
    """Writes one boot's files. One thread only."""

    def __init__(self, journal: Path, boot: Boot, write: Write | None = None) -> None:
        """Write below *journal*; nothing is made yet.

        Args:
            journal: the journal's folder.
            boot: whose files they are, whoever took the outcomes in them.
            write: writes a file at a fraction of what DuckDB takes; None for DuckDB.
        """
        self._journal = journal
        self._boot = boot
        self._write = write
        self._count = 0

    def place(self, ingested_us: int) -> str:
        """Return where the next file belongs, below the journal.

        Args:
            ingested_us: when its first outcome was acknowledged, in microseconds since the epoch.
        """
        hour = datetime.fromtimestamp(ingested_us / 1e6, UTC).strftime("date=%Y-%m-%d/hour=%H")
        name = f"{FOLDER}/{hour}/{self._boot.name}-{self._count}.parquet"
        self._count += 1
        return name

    def has(self, place: str) -> bool:
        """Say whether there is a file there. Then it is whole.

        Raises:
            OSError: nobody can tell.
        """
        return (self._journal / place).exists()

    def write(self, batches: Sequence[RecordBatch], place: str, inbox: str) -> None:
        """Write a file: it is whole and on the disk when this returns.

        Args:
            batches: rows, as `batch` makes them.
            place: where, as `place` says.
            inbox: what the inbox is called where they come from. Its holder alone writes aside under that name, so
                that what a crash leaves there is overwritten.

        Raises:
            OSError, ValueError, duckdb.Error: it cannot be written.
        """
        staging = self._journal / STAGING
        staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        staged = staging / f"{inbox}.parquet"
        said = {
            "turnout.schema": str(VERSION),
            "turnout.instance": self._boot.instance,
            "turnout.boot": self._boot.boot,
            "turnout.written": str(sum(one.num_rows for one in batches)),
        }
        try:
            if self._write is not None:
                columns = [(name, kind, _SAME.get(name)) for name, kind in COLUMNS.items()]
                self._write(staged, columns, batches, said)
            else:
                _copy(staged, batches, said)
            sync(staged)
            self._show(staged, self._journal / place)
        except BaseException:
            discard(staged)
            raise

    def _show(self, staged: Path, file: Path) -> None:
        folder = file.parent
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        staged.rename(file)
        # Before anybody forgets the rows: a power cut must not take the file's name.
        for named in (folder, folder.parent, folder.parent.parent) if is_new else (folder,):
            sync(named)


def batch(rows: Sequence[Waiting]) -> RecordBatch:
    """Return *rows*, one at least, as columns."""
    columns = dict(zip(Waiting._fields, zip(*rows, strict=True), strict=True))
    return RecordBatch.from_arrays([_array(name, columns[name]) for name in _ARROW], schema=_SCHEMA)


def _array(name: str, values: Sequence[Any]) -> Array:
    kind = _ARROW[name]
    return Array(values, DataType.int64()).cast(kind) if COLUMNS[name] == "TIMESTAMPTZ" else Array(values, kind)


def _copy(staged: Path, batches: Sequence[RecordBatch], said: Mapping[str, str]) -> None:
    pairs = ", ".join(f"{literal(name)}: {literal(value)}" for name, value in said.items())
    columns = ", ".join(
        f'{literal(str(_SAME[name]))}::{kind} AS "{name}"' if name in _SAME else f'"{name}"'
        for name, kind in COLUMNS.items()
    )
    with duckdb.connect(config={"threads": 1, "memory_limit": "512MB", "temp_directory": ""}) as database:
        database.register("batches", Table.from_batches(batches, schema=_SCHEMA))
        database.execute(
            f"COPY (SELECT {columns} FROM batches) TO {literal(str(staged))}"
            f" ({PARQUET}, USE_TMP_FILE false, KV_METADATA {{{pairs}}})"
        )
