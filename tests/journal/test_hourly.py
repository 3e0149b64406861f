"""A file has rows of one hour, and not too many of them."""

from __future__ import annotations

import datetime
from pathlib import Path

import duckdb

from turnout_server.journal.accounts import footers
from turnout_server.journal.hourly import Part, parts, write


def at(hour: int) -> datetime.datetime:
    return datetime.datetime(2026, 11, 28, hour, tzinfo=datetime.UTC)


def test_each_hour_is_divided_and_no_row_is_left_out() -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "CREATE TABLE t AS SELECT TIMESTAMPTZ '2026-11-28 06:59:58+00' + to_seconds(i) AS ts FROM range(7) r(i)"
        )
        found = list(parts(connection, "t", "ts", most_rows=2))
    assert found == [Part(at(6), 0, 1), Part(at(7), 2, 3), Part(at(7), 4, 5), Part(at(7), 6, 6)]


def test_a_file_says_what_it_is_told(tmp_path: Path) -> None:
    file = tmp_path / "it's.parquet"
    with duckdb.connect() as connection:
        write(connection, "SELECT 1 AS a", file, {"turnout.what": "it's"})
        assert footers(connection, [file]) == {file: {"what": "it's"}}
        assert connection.execute("FROM read_parquet($1)", [str(file)]).fetchall() == [(1,)]
