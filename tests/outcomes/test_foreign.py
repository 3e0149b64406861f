"""Foreign outcomes are taken once, whole or not at all, and never with a raw unit."""

from __future__ import annotations

import datetime
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.full_disk import FULL, fill
from turnout_server.journal import hourly
from turnout_server.journal.foreign_rows import ImportFailedError
from turnout_server.journal.keys import hashed, key_id
from turnout_server.journal.mapping import ForeignTableError
from turnout_server.journal.schema import STAGING
from turnout_server.journal.segments import SegmentFiles
from turnout_server.outcomes.foreign import FIELDS, Imported, Terms, import_files, import_query
from turnout_server.outcomes.schema import COLUMNS, FILES

NOW = datetime.datetime(2026, 11, 29, 12, 30, tzinfo=datetime.UTC)
KEY, OTHER_KEY = b"k" * 16, b"o" * 16
HEAD = "outcome_id,unit,ts,name,value"
WRITES = ((hourly, "write"), (SegmentFiles, "finish"))
"""What an import writes by."""
ROWS = (HEAD, "1,ann,2026-11-28T06:00:00Z,order,12.5", "2,bob,2026-11-28T07:00:00Z,order,3")


def table(folder: Path, *lines: str, name: str = "outcomes.csv") -> Path:
    file = folder / name
    file.write_text("\n".join(lines) + "\n")
    return file


def imported(folder: Path, *files: Path, key: bytes = KEY, now: datetime.datetime = NOW, **terms: Any) -> Imported:
    (folder / "key").write_text(key.hex())
    return import_files(folder / "journal", files, Terms(key_file=folder / "key", **terms), now)


def rows(folder: Path, select: str = "*") -> list[tuple[Any, ...]]:
    files = sorted(map(str, (folder / "journal").glob(FILES)))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = f"SELECT {select} FROM read_parquet($1, hive_partitioning = false) ORDER BY outcome_id, value"
        return connection.execute(found, [files]).fetchall() if files else []


def contents(folder: Path) -> dict[str, bytes]:
    files = (folder / "journal").rglob("*")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.is_file()}


def test_rows_have_the_documented_columns_and_lie_in_the_hour_they_were_ingested(tmp_path: Path) -> None:
    assert imported(tmp_path, table(tmp_path, *ROWS)) == Imported(rows=2, files=1)
    (file,) = (tmp_path / "journal").glob(FILES)
    assert file.parent == tmp_path / "journal/outcomes/date=2026-11-29/hour=12"
    assert file.name.startswith("import-")
    assert file.name.endswith("-0.parquet")
    with duckdb.connect() as connection:
        described = connection.execute("DESCRIBE FROM read_parquet($1, hive_partitioning = false)", [str(file)])
        types = {
            name: kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ") for name, kind, *_ in described.fetchall()
        }
    assert types == dict(COLUMNS)
    at = datetime.datetime(2026, 11, 28, 6, tzinfo=datetime.UTC)
    boot = file.name.split("-")[1]
    assert rows(tmp_path)[0] == (
        *(1, "1", hashed("ann", KEY), key_id(KEY), None, at, "order", 12.5),
        *(NOW, "import", "import", boot, 0),
    )


@pytest.mark.parametrize(
    ("owner", "name", "well"), [(where, name, well) for where, name in WRITES for well in range(2)]
)
def test_a_full_disk_is_told_and_nothing_is_there_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, well: int
) -> None:
    """Two hours are two files; that one of them could still be written does not make half an import."""
    lines = (f"{HEAD},ingested", *(f"{row},2026-11-2{8 + day} 05:30" for day, row in enumerate(ROWS[1:])))
    file = table(tmp_path, *lines)
    with monkeypatch.context() as patched:
        fill(patched, owner, name, well)
        with pytest.raises(ImportFailedError, match=f"journal: {FULL}"):
            imported(tmp_path, file)
    assert rows(tmp_path) == []
    assert list((tmp_path / "journal" / STAGING).iterdir()) == [], "what was written aside is gone"
    assert imported(tmp_path, file) == Imported(rows=2, files=2)


def test_every_field_is_a_column_of_its_type() -> None:
    assert {one.name: one.stored for one in FIELDS}.items() <= COLUMNS.items()


def test_the_same_twice_changes_nothing_however_the_file_is_written(tmp_path: Path) -> None:
    imported(tmp_path, table(tmp_path, *ROWS))
    before = contents(tmp_path)
    assert imported(tmp_path, table(tmp_path, *ROWS)) == Imported(duplicates=2)
    assert imported(tmp_path, table(tmp_path, ROWS[0], *ROWS[:0:-1]), now=NOW + datetime.timedelta(1)).rows == 0
    assert contents(tmp_path) == before


def test_what_overlaps_is_taken_once(tmp_path: Path) -> None:
    imported(tmp_path, table(tmp_path, *ROWS))
    done = imported(tmp_path, table(tmp_path, *ROWS, "3,cid,2026-11-28,order,1", "3,cid,2026-11-28,order,1"))
    assert done == Imported(rows=1, files=1, duplicates=3)
    assert [each for (each,) in rows(tmp_path, "outcome_id")] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "other",
    [
        "1,ann,2026-11-28T06:00:00Z,order,12.6",
        "1,ann,2026-11-28T06:00:00Z,click,12.5",
        "1,ann,2026-11-28T06:00:01Z,order,12.5",
        "1,cid,2026-11-28T06:00:00Z,order,12.5",
    ],
)
def test_an_id_with_another_content_is_kept_and_said(tmp_path: Path, other: str) -> None:
    imported(tmp_path, table(tmp_path, *ROWS))
    assert imported(tmp_path, table(tmp_path, HEAD, other)) == Imported(rows=1, files=1, conflicts=1)
    assert len(rows(tmp_path)) == 3


def test_an_id_with_two_contents_in_one_file_is_kept_and_said(tmp_path: Path) -> None:
    assert imported(tmp_path, table(tmp_path, *ROWS, "1,ann,2026-11-28T06:00:00Z,order,1")).conflicts == 1
    assert len(rows(tmp_path)) == 3


def test_after_a_rotated_key_the_same_outcomes_are_still_the_same(tmp_path: Path) -> None:
    imported(tmp_path, table(tmp_path, *ROWS))
    assert imported(tmp_path, table(tmp_path, *ROWS), key=OTHER_KEY) == Imported(duplicates=2)


def test_a_time_of_ingestion_is_kept_and_files_are_by_its_hours(tmp_path: Path) -> None:
    lines = (
        f"{HEAD},ingested",
        "1,a,2026-11-01,x,1,2026-11-03 05:30",
        "2,a,2026-11-01,x,1,2026-11-02 04:30",
        "3,a,2026-11-01,x,1,",
    )
    assert imported(tmp_path, table(tmp_path, *lines)).files == 3
    folders = {
        str(file.parent.relative_to(tmp_path / "journal/outcomes")) for file in (tmp_path / "journal").glob(FILES)
    }
    assert folders == {"date=2026-11-02/hour=04", "date=2026-11-03/hour=05", "date=2026-11-29/hour=12"}
    assert [at.isoformat()[:16] for (at,) in rows(tmp_path, "ingested")] == [
        "2026-11-03T05:30",
        "2026-11-02T04:30",
        "2026-11-29T12:30",
    ]


REFUSED = [
    (",ann,2026-11-28,order,1", "outcome_id: nothing"),
    (f"{'x' * 129},ann,2026-11-28,order,1", "outcome_id: 'xxx"),
    ("1,,2026-11-28,order,1", "unit: nothing, and no request_id"),
    ("1,ann,,order,1", "ts: nothing"),
    ("1,ann,2026-11-29T12:35:01Z,order,1", "ts: '2026-11-29T12:35:01Z'; expected a time"),
    ("1,ann,2026-11-28,,1", "name: nothing"),
    ("1,ann,2026-11-28,Order,1", "name: 'Order'"),
    ("1,ann,2026-11-28,order,nan", "value: 'nan'; expected a finite number"),
    ("1,ann,2026-11-28,order,-inf", "value: '-inf'"),
    ("1,ann,2026-11-28,order,1e400", "value: '1e400'"),
    ("1,ann,2026-11-28,order,much", "value: 'much'"),
    ("1,ann,2026-11-28,order,", "value: nothing"),  # what is not said is not 1
]


@pytest.mark.parametrize(("line", "problem"), REFUSED)
def test_what_is_wrong_is_refused_by_row_and_the_others_with_it(tmp_path: Path, line: str, problem: str) -> None:
    done = imported(tmp_path, table(tmp_path, *ROWS, line))
    assert (done.rows, done.refused.count) == (0, 1)
    assert done.refused.first[0].startswith(f"{tmp_path}/outcomes.csv: row 3: {problem}")
    assert rows(tmp_path) == []


def test_what_is_skipped_is_counted(tmp_path: Path) -> None:
    done = imported(tmp_path, table(tmp_path, *ROWS, *(line for line, _ in REFUSED)), skip_bad=True)
    assert (done.rows, done.refused.count, len(done.refused.first)) == (2, len(REFUSED), 10)


def test_a_request_may_stand_for_its_unit(tmp_path: Path) -> None:
    imported(tmp_path, table(tmp_path, "outcome_id,request_id,ts", "1,r-1,2026-11-28"), name="click")
    assert rows(tmp_path, "unit, unit_key_id, request_id, name, value") == [(None, None, "r-1", "click", 1)]


def test_a_table_that_says_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ForeignTableError, match="no column for unit, nor for request_id"):
        imported(tmp_path, table(tmp_path, "outcome_id,ts", "1,2026-11-28"), name="click")


def test_ids_can_be_made_of_columns_and_do_not_give_away_what_is_in_them(tmp_path: Path) -> None:
    lines = ("unit,day,ts", "ann,1,2026-11-28", "ann,2,2026-11-28", ",,2026-11-28")
    terms: dict[str, Any] = {"name": "visit", "id_from": ("unit", "day"), "skip_bad": True}
    done = imported(tmp_path, table(tmp_path, *lines), **terms)
    assert (done.rows, done.refused.first) == (
        2,
        [f"{tmp_path}/outcomes.csv: row 3: outcome_id: nothing; expected a value"],
    )
    ids = [each for (each,) in rows(tmp_path, "outcome_id")]
    assert {len(each) for each in ids} == {32}
    assert imported(tmp_path, table(tmp_path, *lines), **terms).duplicates == 2
    imported(tmp_path, table(tmp_path, *lines), key=OTHER_KEY, **terms)
    assert not {each for (each,) in rows(tmp_path, "outcome_id") if each not in ids} & set(ids)
    assert len(rows(tmp_path)) == 4  # under another key: nobody without it can guess what is in an id


def test_raw_units_are_nowhere(tmp_path: Path) -> None:
    lines = (HEAD, *(f"{n},shopper-{n},2026-11-28,order,1" for n in range(100)), "x,shopper-x,2026-11-28,order,nan")
    done = import_files(tmp_path / "journal", [table(tmp_path, *lines)], Terms(skip_bad=True), NOW)
    assert (done.rows, done.is_new_key) == (100, True)
    assert not any(b"shopper" in raw for raw in contents(tmp_path).values())


def test_a_query_is_imported_as_a_file_is_and_once_with_it(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE orders (id INTEGER, who TEXT, at TEXT, amount REAL)")
        database.executemany(
            "INSERT INTO orders VALUES (?, ?, ?, ?)",
            [(1, "ann", "2026-11-28T06:00:00Z", 12.5), (2, "bob", "2026-11-28 07:00", 3.0), (3, "cid", "x", 1.0)],
        )
    (tmp_path / "key").write_text(KEY.hex())
    terms = Terms(("id=outcome_id", "who=unit", "at=ts", "amount=value"), "order", (), tmp_path / "key", True)

    def once() -> Imported:
        return import_query(tmp_path / "journal", f"sqlite:{tmp_path}/shop.db", "SELECT * FROM orders", terms, NOW)

    done = once()
    assert (done.rows, done.refused.first[0][:27]) == (2, "the query: row 3: ts: 'x'; ")
    assert once().duplicates == 2
    assert imported(tmp_path, table(tmp_path, *ROWS)) == Imported(duplicates=2)


def test_a_query_of_many_pieces_numbers_its_rows_through(tmp_path: Path) -> None:
    query = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)"
        " SELECT i AS outcome_id, 'u' AS unit, CASE i WHEN 20001 THEN 'x' ELSE '2026-11-28' END AS ts FROM n"
    )
    sqlite3.connect(tmp_path / "empty.db").close()
    terms = Terms(name="order", skip_bad=True)
    done = import_query(tmp_path / "journal", f"sqlite:{tmp_path}/empty.db", query, terms, NOW)
    assert (done.rows, done.refused.count) == (24999, 1)
    assert done.refused.first[0].startswith("the query: row 20001: ts: 'x'")
