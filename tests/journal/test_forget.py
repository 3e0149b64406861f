"""After `forget` the unit's rows are nowhere, and everything else is as it was."""

from __future__ import annotations

import datetime
import fcntl
import json
from pathlib import Path

import duckdb
import pytest

from tests.journal.journals import BOOT, INSTANCE, row, write_counters, write_segment
from turnout_server.journal.accounts import accounts, footers
from turnout_server.journal.foreign_rows import ImportBusyError, alone, receiving
from turnout_server.journal.forget import AUDIT, ForgettingError, forget
from turnout_server.journal.keys import hashed, key_id
from turnout_server.journal.reading import query
from turnout_server.journal.schema import STAGING
from turnout_server.vocabulary.errors import ConfigurationError, InvalidRequestError

OLD, NEW, LOST = b"o" * 16, b"n" * 16, b"l" * 16


def of(unit: str, seq: int, key: bytes = NEW, **values: object) -> dict[str, object]:
    return row(seq, unit=hashed(unit, key), unit_key_id=key_id(key), **values)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    (tmp_path / ".key").write_text(f"{NEW.hex()}\n{OLD.hex()}\n")
    write_segment(tmp_path, [of("ann", 0, OLD), of("bob", 1), of("ann", 2), row(3)])
    write_segment(tmp_path, [of("bob", 4), row(5)], n=1)
    write_segment(tmp_path, [of("ann", 6, copy_of=5)], n=2, closed="true")
    write_counters(tmp_path, offered=7, written=7, segments=3, closed=True)
    return tmp_path


def test_rows_under_any_key_go_and_no_others(journal: Path) -> None:
    before = query(journal, "FROM records WHERE seq IN (1, 3, 4, 5) ORDER BY seq").rows
    done = forget(journal, "ann")
    assert (done.rows, len(done.segments)) == (3, 2)
    assert query(journal, "FROM records ORDER BY seq").rows == before


def test_types_mode_and_the_footer_stay_but_for_what_was_forgotten(journal: Path) -> None:
    (file,) = journal.glob("date=*/hour=*/*-0.parquet")
    file.chmod(0o640)
    with duckdb.connect() as connection:
        said = footers(connection, [file])[file]
        schema = "SELECT name, type, logical_type FROM parquet_schema($1) WHERE name <> 'duckdb_schema'"
        columns = connection.execute(schema, [str(file)]).fetchall()
        forget(journal, "ann")
        assert footers(connection, [file])[file] == {**said, "forgotten": "2"}
        assert connection.execute(schema, [str(file)]).fetchall() == columns
    assert file.stat().st_mode & 0o777 == 0o640
    assert not list((journal / STAGING).iterdir())


def test_segments_without_the_unit_are_not_touched(journal: Path) -> None:
    (file,) = journal.glob("date=*/hour=*/*-1.parquet")
    before = file.stat().st_ino, file.stat().st_mtime_ns
    forget(journal, "ann")
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == before


def test_the_accounts_balance_afterwards(journal: Path) -> None:
    forget(journal, "ann")
    forget(journal, "bob")
    (found,) = accounts(journal, is_thorough=True).accounts
    assert found.is_accounted
    assert (found.written, found.forgotten) == (7, 5)


def test_the_audit_has_hashes_and_never_the_unit(journal: Path) -> None:
    forget(journal, "ann")
    forget(journal, "ann")
    first, second = map(json.loads, (journal / AUDIT).read_text().splitlines())
    assert first["units"] == {key_id(key): hashed("ann", key).hex() for key in (NEW, OLD)}
    assert (first["rows"], second["rows"]) == (3, 0)
    assert "ann" not in (journal / AUDIT).read_text()


def test_boots_that_run_are_reported(journal: Path) -> None:
    with (journal / ".boots" / f"{INSTANCE}-{BOOT}").open("rb") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert forget(journal, "ann").running == ((INSTANCE, BOOT),)
    assert forget(journal, "ann").running == ()


def test_rows_of_keys_that_are_not_here_are_counted(journal: Path) -> None:
    write_segment(journal, [of("ann", 7, LOST)], n=3)
    assert forget(journal, "ann").unknown_keys == {key_id(LOST): 1}


def test_a_damaged_segment_is_named_and_the_others_are_rewritten(journal: Path) -> None:
    (file,) = journal.glob("date=*/hour=*/*-0.parquet")
    raw = file.read_bytes()
    file.write_bytes(raw[:4] + b"\xff" * (len(raw) // 2) + raw[4 + len(raw) // 2 :])
    done = forget(journal, "ann")
    assert list(done.unreadable) == [file.name]
    assert done.rows == 1


def test_what_a_killed_one_left_behind_goes(journal: Path) -> None:
    (journal / STAGING).mkdir()
    (journal / STAGING / "forget-x.parquet").write_bytes(b"rows")
    (journal / STAGING / "x.parquet").write_bytes(b"a writer's")
    forget(journal, "nobody")
    assert [file.name for file in (journal / STAGING).iterdir()] == ["x.parquet"]


def test_two_at_once_are_refused(journal: Path) -> None:
    with (journal / AUDIT).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ForgettingError, match="somebody else"):
            forget(journal, "ann")


def test_while_somebody_imports_nobody_forgets_and_the_other_way_round(journal: Path) -> None:
    now = datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC)
    with receiving(journal, now), pytest.raises(ForgettingError, match="or importing"):
        forget(journal, "ann")
    with alone(journal), pytest.raises(ImportBusyError, match="or forgetting"), receiving(journal, now):
        pass


def test_rows_that_a_killed_import_left_go(journal: Path) -> None:
    (journal / STAGING / "import").mkdir(parents=True)
    (journal / STAGING / "import" / "rows").write_bytes(hashed("ann", NEW))
    forget(journal, "ann")
    assert not (journal / STAGING / "import").exists()


@pytest.mark.parametrize("text", ["", "xyz", "00" * 15])
def test_without_good_keys_nothing_is_done(journal: Path, text: str) -> None:
    (journal / ".key").write_text(text)
    with pytest.raises(ConfigurationError):
        forget(journal, "ann")
    assert not (journal / AUDIT).exists()


@pytest.mark.parametrize("unit", ["", "x" * 1025])
def test_what_is_no_unit_is_refused(journal: Path, unit: str) -> None:
    with pytest.raises(InvalidRequestError):
        forget(journal, unit)
