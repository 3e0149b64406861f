"""Rows in the order of a time, as files of one hour each: readers leave out hours by their folders."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb

from turnout_server.journal.reading import literal
from turnout_server.journal.schema import PARQUET
from turnout_server.journal.sync import sync

MOST_ROWS = 1_000_000
"""Of one file."""


class Part(NamedTuple):
    """What one file takes of a table, whose rows are numbered from 0."""

    hour: datetime.datetime
    first: int
    last: int


def parts(connection: duckdb.DuckDBPyConnection, table: str, time: str, most_rows: int = MOST_ROWS) -> Iterator[Part]:
    """Return how *table*, which lies in the order of its column *time*, is divided into files."""
    first = 0
    for hour, rows in connection.execute(
        f"SELECT date_trunc('hour', {time}), count(*) FROM {table} GROUP BY 1 ORDER BY 1"
    ).fetchall():
        for start in range(first, first + rows, most_rows):
            yield Part(hour, start, min(start + most_rows, first + rows) - 1)
        first += rows


def write(
    connection: duckdb.DuckDBPyConnection, select: str, file: Path, said: Mapping[str, str] | None = None
) -> None:
    """Write what *select* finds to *file*, down to the disk, with a footer that has *said*.

    Raises:
        OSError, duckdb.Error: that cannot be done.
    """
    pairs = ", ".join(f"{literal(name)}: {literal(value)}" for name, value in (said or {}).items())
    footer = f", KV_METADATA {{{pairs}}}" if pairs else ""
    connection.execute(f"COPY ({select}) TO {literal(str(file))} ({PARQUET}, USE_TMP_FILE false{footer})")
    sync(file)
