"""What a reader sees of a journal, whatever state its files are in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.journal.journals import row, write_segment
from turnout_server.journal import reading
from turnout_server.journal.reading import JournalQueryError, query
from turnout_server.journal.schema import COLUMNS, FOLDERS


def test_a_journal_that_is_not_there_is_empty_and_has_every_column(tmp_path: Path) -> None:
    with reading.connect(tmp_path / "nowhere") as connection:
        described = connection.execute("SELECT column_name FROM (DESCRIBE records)").fetchall()
        assert [name for (name,) in described] == [*COLUMNS, *FOLDERS]
        assert connection.execute("SELECT count(*) FROM records").fetchall() == [(0,)]


def test_folders_are_columns_and_have_types(tmp_path: Path) -> None:
    write_segment(tmp_path, [row(0)], folder="date=2026-11-28/hour=06")
    write_segment(tmp_path, [row(1)], n=1, folder="date=2026-11-28/hour=07")
    answer = query(tmp_path, "SELECT seq FROM records WHERE date = DATE '2026-11-28' AND hour = 7")
    assert answer.rows == [(1,)]
    assert answer.columns == ("seq",)


def test_files_with_fewer_and_with_more_columns_are_read_together(tmp_path: Path) -> None:
    older = {name: kind for name, kind in COLUMNS.items() if not name.startswith("shadow")}
    write_segment(tmp_path, [row(0)], columns=older)
    write_segment(tmp_path, [row(1, later="x")], n=1, columns={**COLUMNS, "later": "VARCHAR"})
    assert query(tmp_path, "SELECT seq, shadow_tau, later FROM records ORDER BY seq").rows == [
        (0, None, None),
        (1, None, "x"),
    ]


def _cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _footer_spoilt(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    length = int.from_bytes(raw[-8:-4], "little")
    raw[-8 - length : -8] = b"\xff" * length
    file.write_bytes(bytes(raw))


def _pages_spoilt(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    length = int.from_bytes(raw[-8:-4], "little")
    raw[4 : -8 - length] = b"\xff" * (len(raw) - 12 - length)
    file.write_bytes(bytes(raw))


def _emptied(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("spoil", [_cut_off, _footer_spoilt, _pages_spoilt, _emptied])
def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    write_segment(tmp_path, [row(0)])
    damaged = write_segment(tmp_path, [row(1)], n=1)
    spoil(damaged)
    answer = query(tmp_path, "SELECT seq, request_id, sum(took_us) FROM records GROUP BY ALL")
    assert answer.rows == [(0, "r-0", 1000)]
    assert list(answer.unreadable) == [damaged]


def test_a_file_whose_columns_have_other_types_is_named(tmp_path: Path) -> None:
    write_segment(tmp_path, [row(0)])
    foreign = write_segment(tmp_path, [row(1, took_us="long")], n=1, columns={**COLUMNS, "took_us": "VARCHAR"})
    answer = query(tmp_path, "SELECT sum(took_us) FROM records")
    assert answer.rows == [(1000,)]
    assert answer.unreadable == {foreign: "column took_us is VARCHAR, not BIGINT"}


def test_a_file_that_vanishes_between_listing_and_reading_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_segment(tmp_path, [row(0)])
    gone = write_segment(tmp_path, [row(1)], n=1)
    listed = reading.segments(tmp_path)
    answers = iter([listed])
    gone.unlink()
    real = reading.segments
    monkeypatch.setattr(reading, "segments", lambda journal, beside: next(answers, None) or real(journal, beside))
    assert query(tmp_path, "SELECT seq FROM records").rows == [(0,)]


@pytest.mark.parametrize("name", ["it's", "a[b]*c", "sp ace"])
def test_a_journal_may_have_any_name(tmp_path: Path, name: str) -> None:
    write_segment(tmp_path / "plain", [row(0)])
    (tmp_path / "plain").rename(tmp_path / name)
    assert query(tmp_path / name, "SELECT seq FROM records").rows == [(0,)]


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "SELECT 1; SELECT 2",
        "SELEC 1",
        "SELECT nope FROM records",
        "COPY records TO '/tmp/x'",
        "DROP VIEW records",
        "ATTACH ':memory:' AS x",
        "EXPLAIN ANALYZE SELECT 1",
        "SET threads = 9",
        "INSTALL httpfs",
        "PRAGMA version",
    ],
)
def test_only_one_statement_that_reads_is_accepted(tmp_path: Path, sql: str) -> None:
    write_segment(tmp_path, [row(0)])
    with pytest.raises(JournalQueryError) as caught:
        query(tmp_path, sql)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("sql", ["FROM records", "VALUES (1)", "WITH a AS (SELECT 1) FROM a", "DESCRIBE records"])
def test_whatever_only_reads_is_accepted(tmp_path: Path, sql: str) -> None:
    write_segment(tmp_path, [row(0)])
    assert query(tmp_path, sql).rows


def test_a_query_reads_no_other_file_than_segments(tmp_path: Path) -> None:
    write_segment(tmp_path, [row(0)])
    (tmp_path / ".key").write_text("00" * 16)
    for function in ("read_text", "glob"):
        with pytest.raises(JournalQueryError, match="disabled by configuration"):
            query(tmp_path, f"SELECT * FROM {function}('{tmp_path}/.key')")


def test_the_connections_settings_are_locked(tmp_path: Path) -> None:
    with reading.connect(tmp_path) as connection, pytest.raises(duckdb.Error, match="locked"):
        connection.execute("SET enable_external_access = true")


@pytest.mark.parametrize("fails", [False, True])
def test_a_segment_that_is_replaced_while_it_is_read_is_read_again(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_segment(tmp_path, [row(0), row(1)])
    reads: list[str] = []

    def check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
        reads.append(sql)
        if len(reads) == 1:
            write_segment(tmp_path, [row(0)])
            if fails:
                raise duckdb.InvalidInputException("don't know what type: ")

    monkeypatch.setattr(reading, "check_statement", check)
    answer = reading.query(tmp_path, "SELECT count(*) FROM records")
    assert (answer.rows, len(reads)) == ([(1,)], 2)


def test_a_query_that_takes_long_draws_nothing_between_the_answers() -> None:
    """DuckDB takes an interpreter without a script, as `python -c` is, for interactive, and draws on stdout then."""
    code = (
        "from turnout_server.journal.reading import unlocked\n"
        "print(unlocked().execute(\"SELECT current_setting('enable_progress_bar')\").fetchone()[0])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == "False\n"
