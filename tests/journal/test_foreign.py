"""A foreign log becomes segments like the journal's own: whole or not at all, once, and accounted for."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.full_disk import FULL, fill
from turnout_server.journal import foreign, hourly
from turnout_server.journal.accounts import CLEAN, UNCLEAN, accounts
from turnout_server.journal.counters import CounterFile
from turnout_server.journal.foreign import FIELDS, Imported, import_exposures
from turnout_server.journal.foreign_rows import ImportFailedError
from turnout_server.journal.forget import forget
from turnout_server.journal.keys import hashed, key_id
from turnout_server.journal.mapping import ForeignTableError
from turnout_server.journal.reading import query
from turnout_server.journal.schema import COLUMNS, SEGMENTS, STAGING
from turnout_server.journal.segments import SegmentFiles
from turnout_server.vocabulary.errors import ConfigurationError

NOW = datetime.datetime(2026, 11, 29, 12, tzinfo=datetime.UTC)
KEY = b"k" * 16


def log(folder: Path, *lines: str, name: str = "log.csv") -> Path:
    file = folder / name
    file.write_text("\n".join(lines) + "\n")
    return file


def imported(folder: Path, *files: Path, **options: Any) -> Imported:
    (folder / "key").write_text(KEY.hex())
    options = {"route": "price", "key_file": folder / "key", "now": NOW, **options}
    return import_exposures(folder / "journal", files, **options)


def rows(folder: Path, select: str) -> list[tuple[Any, ...]]:
    return query(folder / "journal", f"SELECT {select} FROM records ORDER BY boot, seq").rows


def contents(folder: Path) -> dict[str, bytes]:
    files = (folder / "journal").rglob("*")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.is_file()}


UNSORTED = ("unit,ts,assigned", "bob,2026-11-28 07:30,b", "ann,2026-11-28 06:59:59.5,a", ",2026-11-28 07:00,a")


def test_segments_are_in_order_with_verify(tmp_path: Path) -> None:
    done = imported(tmp_path, log(tmp_path, *UNSORTED))
    ledger = accounts(tmp_path / "journal", is_thorough=True)
    (account,) = ledger.accounts
    assert ledger.is_accounted
    assert (account.state, account.offered, account.written, account.segments) == (CLEAN, 3, 3, 2)
    assert f"{account.instance}-{account.boot}" == done.boot
    assert (done.rows, done.segments, done.refused.count) == (3, 2, 0)


def test_rows_lie_in_the_hours_of_their_times_numbered_in_their_order(tmp_path: Path) -> None:
    imported(tmp_path, log(tmp_path, *UNSORTED))
    found = rows(tmp_path, "seq, strftime(ts, '%H:%M:%S'), hour, unit, unit_key_id")
    ann, bob, key = hashed("ann", KEY), hashed("bob", KEY), key_id(KEY)
    assert found == [(0, "06:59:59", 6, ann, key), (1, "07:00:00", 7, None, None), (2, "07:30:00", 7, bob, key)]


def test_columns_are_the_journals_own_with_the_documented_defaults(tmp_path: Path) -> None:
    imported(tmp_path, log(tmp_path, "ts,assigned", "2026-11-28,a"))
    ((*found,),) = rows(tmp_path, ", ".join(f'"{name}"' for name in COLUMNS))
    said = {name: value for name, value in zip(COLUMNS, found, strict=True) if value is not None}
    assert {name: said.pop(name) for name in ("schema", "instance", "seq", "route")} == {
        "schema": 1,
        "instance": "import",
        "seq": 0,
        "route": "price",
    }
    assert len(said.pop("boot")) == 16
    assert said.pop("ts") == datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)
    assert said == {
        "assigned": "a",
        "served": "a",
        "enrolled": True,
        "epoch": "",
        "version": 0,
        "reason": "SPLIT",
        "code": "OK",
    }


def test_every_field_is_a_column_of_the_journal_of_its_type() -> None:
    assert {one.name: one.stored for one in FIELDS}.items() <= COLUMNS.items()


def test_a_target_that_was_not_served_is_told_from_a_log_that_does_not_say(tmp_path: Path) -> None:
    imported(tmp_path, log(tmp_path, "ts,assigned,served,code", "2026-11-28,a,b,OK", "2026-11-28,a,,MODEL_OVERLOADED"))
    assert rows(tmp_path, "assigned, served, code") == [("a", "b", "OK"), ("a", None, "MODEL_OVERLOADED")]


def test_the_same_twice_changes_nothing_in_whatever_order_files_are_named(tmp_path: Path) -> None:
    one, other = log(tmp_path, *UNSORTED), log(tmp_path, "ts,assigned", "2026-11-27,a", name="other.csv")
    first = imported(tmp_path, one, other)
    before = contents(tmp_path)
    again = imported(tmp_path, other, one)
    assert (again.was_there, again.rows, again.boot) == (True, 4, first.boot)
    assert contents(tmp_path) == before


def test_another_file_route_or_mapping_is_another_import(tmp_path: Path) -> None:
    file = log(tmp_path, "ts,assigned,arm", "2026-11-28,a,b")
    boots = {
        imported(tmp_path, file).boot,
        imported(tmp_path, file, route="ranking").boot,
        imported(tmp_path, file, pairs=["arm=assigned"]).boot,
    }
    assert len(boots) == 3


BAD = ("ts,assigned,propensity,reason", "2026-11-28,a,0.5,SPLIT", "2026-11-28,,,", "x,a,,", "2026-11-28,a,0,GUESS")


def test_one_bad_row_and_nothing_is_imported(tmp_path: Path) -> None:
    done = imported(tmp_path, log(tmp_path, *BAD))
    assert (done.rows, done.refused.count) == (0, 3)
    assert [line.split("; ")[0].removeprefix(f"{tmp_path}/") for line in done.refused.first] == [
        "log.csv: row 2: assigned: nothing",
        "log.csv: row 3: ts: 'x'",
        "log.csv: row 4: reason: 'GUESS'",
    ]
    assert not accounts(tmp_path / "journal").accounts
    assert not list((tmp_path / "journal").glob(SEGMENTS))


def test_what_is_skipped_is_accounted_for_as_dropped(tmp_path: Path) -> None:
    done = imported(tmp_path, log(tmp_path, *BAD), skip_bad=True)
    ledger = accounts(tmp_path / "journal", is_thorough=True)
    (account,) = ledger.accounts
    assert ledger.is_accounted
    assert (done.rows, account.offered, account.written, account.dropped) == (1, 4, 1, {"unwritable": 3})


def test_a_file_without_rows_leaves_no_trace_in_the_accounts(tmp_path: Path) -> None:
    done = imported(tmp_path, log(tmp_path, "ts,assigned"))
    assert (done.rows, done.refused.count) == (0, 0)
    assert not accounts(tmp_path / "journal").accounts


def test_a_copy_names_the_row_of_its_original_and_gets_its_number(tmp_path: Path) -> None:
    lines = ("ts,assigned,copy_of", "2026-11-28 09:00,a,2", "2026-11-28 08:00,a,", "2026-11-28 07:00,a,")
    imported(tmp_path, log(tmp_path, *lines))
    assert rows(tmp_path, "seq, copy_of") == [(0, None), (1, None), (2, 1)]


@pytest.mark.parametrize("original", [1, 9, 2])
def test_a_copy_of_nothing_of_itself_or_of_a_refused_row_is_refused(tmp_path: Path, original: int) -> None:
    lines = ("ts,assigned,copy_of", f"2026-11-28 09:00,a,{original}", "x,a,")
    done = imported(tmp_path, log(tmp_path, *lines))
    assert done.refused.first[0].startswith(f"{tmp_path}/log.csv: row 1: copy_of: row {original}; expected")


_DIE = """
import os, sys, datetime
from pathlib import Path
from turnout_server.journal.foreign import import_exposures
from turnout_server.journal.segments import SegmentFiles
finish, left = SegmentFiles.finish, [int(sys.argv[2])]
def dying(*arguments):
    left[0] -= 1
    if left[0] < 0:
        os._exit(9)
    return finish(*arguments)
SegmentFiles.finish = dying
folder = Path(sys.argv[1])
import_exposures(folder / "journal", [folder / "log.csv"], route="price", key_file=folder / "key")
"""


@pytest.mark.parametrize("shown", [0, 1])
def test_an_import_that_was_killed_is_unclean_until_it_is_done_again(tmp_path: Path, shown: int) -> None:
    (tmp_path / "key").write_text(KEY.hex())
    file = log(tmp_path, *UNSORTED)
    died = subprocess.run([sys.executable, "-c", _DIE, str(tmp_path), str(shown)], timeout=60, check=False)
    assert died.returncode == 9
    (account,) = accounts(tmp_path / "journal").accounts
    assert (account.state, account.segments) == (UNCLEAN, shown)
    assert (imported(tmp_path, file).rows, len(rows(tmp_path, "*"))) == (3, 3)
    assert accounts(tmp_path / "journal", is_thorough=True).is_accounted


@pytest.mark.parametrize(
    ("owner", "name", "well"),
    [
        *((hourly, "write", well) for well in range(2)),
        *((SegmentFiles, "finish", well) for well in range(2)),
        (foreign, "CounterFile", 0),
        (CounterFile, "flush", 0),
    ],
)
def test_a_full_disk_is_told_and_nothing_counts_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, well: int
) -> None:
    file = log(tmp_path, *UNSORTED)
    with monkeypatch.context() as patched:
        fill(patched, owner, name, well)
        with pytest.raises(ImportFailedError, match=f"journal: {FULL}"):
            imported(tmp_path, file)
    assert not [account for account in accounts(tmp_path / "journal").accounts if account.state == CLEAN]
    assert list((tmp_path / "journal" / STAGING).iterdir()) == [], "what was written aside is gone"
    done = imported(tmp_path, file)
    assert (done.rows, done.was_there, len(rows(tmp_path, "*"))) == (3, False, 3)
    assert accounts(tmp_path / "journal", is_thorough=True).is_accounted


def test_a_database_without_room_for_its_rows_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise duckdb.IOException(f"IO Error: Could not write file: {FULL}")

    monkeypatch.setattr("turnout_server.journal.foreign_rows.ForeignRows.put_aside", full)
    with pytest.raises(ImportFailedError, match=FULL):
        imported(tmp_path, log(tmp_path, *UNSORTED))
    assert not list((tmp_path / "journal").glob(SEGMENTS))


def test_what_was_forgotten_in_between_stays_forgotten(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY.hex())
    file = log(tmp_path, *UNSORTED)
    subprocess.run([sys.executable, "-c", _DIE, str(tmp_path), "1"], timeout=60, check=False)
    assert forget(tmp_path / "journal", "ann", tmp_path / "key").rows == 1
    imported(tmp_path, file)
    assert hashed("ann", KEY) not in [unit for (unit,) in rows(tmp_path, "unit")]
    assert accounts(tmp_path / "journal", is_thorough=True).is_accounted


def test_a_journal_without_a_key_gets_one_and_raw_units_are_nowhere(tmp_path: Path) -> None:
    lines = ("unit,ts,assigned", *(f"shopper-{n},2026-11-28,a" for n in range(100)), "shopper-x,y,z")
    done = imported(tmp_path, log(tmp_path, *lines), key_file=None, skip_bad=True)
    assert done.is_new_key
    assert (tmp_path / "journal/.key").stat().st_mode & 0o777 == 0o600
    assert not any(b"shopper" in raw for raw in contents(tmp_path).values())
    assert not any("shopper" in line for line in done.refused.first)


def test_a_journal_that_serves_is_added_to_under_its_key(tmp_path: Path) -> None:
    imported(tmp_path, log(tmp_path, *UNSORTED))
    (tmp_path / "journal/.key").write_text(KEY.hex())
    done = imported(tmp_path, log(tmp_path, *UNSORTED), route="ranking", key_file=None)
    assert not done.is_new_key
    assert len(set(rows(tmp_path, "unit"))) == 3  # ann, bob, and nobody


def test_a_key_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        imported(tmp_path, log(tmp_path, *UNSORTED), key_file=tmp_path / "nowhere")


def test_a_log_without_a_route_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ForeignTableError, match="no column for route"):
        imported(tmp_path, log(tmp_path, *UNSORTED), route=None)


def test_parquet_of_any_types_is_a_log_as_csv_is(tmp_path: Path) -> None:
    file = tmp_path / "log.parquet"
    duckdb.sql(
        "SELECT 7::BIGINT AS unit, TIMESTAMP_NS '2026-11-28 06:00:00.123456789' AS ts, 'a' AS assigned,"
        " 0.25::FLOAT AS propensity, 3.0::DOUBLE AS version, false AS enrolled, NULL::INTEGER AS took_us"
    ).write_parquet(str(file))
    imported(tmp_path, file)
    at = datetime.datetime(2026, 11, 28, 6, 0, 0, 123456, tzinfo=datetime.UTC)
    found = rows(tmp_path, "unit, ts, propensity, version, enrolled, took_us")
    assert found == [(hashed("7", KEY), at, 0.25, 3, False, None)]
