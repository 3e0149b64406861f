"""`turnout outcomes`, run as from a shell."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Run

TABLE = "id,who,ts,value\n1,ann,2026-11-28,2.5\n2,bob,2026-11-28,1\n"
MAPPED = ("--map", "id=outcome_id", "--map", "who=unit", "--name", "order")


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table beside the journal, which commands use when they are not told otherwise."""
    (tmp_path / "a.csv").write_text(TABLE)
    (tmp_path / "bad.csv").write_text(TABLE + "3,cid,2026-11-28,nan\n")
    monkeypatch.setenv("TURNOUT_JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "journal"


WRONG = [
    ("outcomes", 2),
    ("outcomes frobnicate", 2),
    ("outcomes import", 2),
    ("outcomes import a.csv --sql sqlite:x SELECT", 2),
    ("outcomes import --sql sqlite:x", 2),
    ("outcomes import nowhere.csv", 66),
    ("outcomes import a.csv", 65),
    ("outcomes import a.csv --map id=nope", 65),
    ("outcomes import a.csv --map id=outcome_id --map who=unit", 65),
    ("outcomes import a.csv --map id=outcome_id --map who=unit --name x --key-file nowhere", 78),
    ("outcomes import --sql mysql:x SELECT", 69),
    ("outcomes import --sql sqlite:nowhere SELECT", 69),
]


@pytest.mark.parametrize(("line", "code"), WRONG)
def test_wrong_input_is_a_documented_code_and_an_error_is_one_line(
    run: Run, journal: Path, line: str, code: int
) -> None:
    ran = run(*line.split())
    assert ran.code == code, ran.err
    if code != 2 or "import" in line:
        assert ran.out == ""
        assert ran.err.startswith("turnout: error: ")
        assert ran.err.count("\n") == 1


def test_outcomes_are_imported_once(run: Run, journal: Path) -> None:
    first, again = run("outcomes", "import", "a.csv", *MAPPED), run("outcomes", "import", "a.csv", *MAPPED)
    assert (first.code, first.out) == (0, "imported 2 outcomes in 1 file\n")
    assert first.err == f"note: a key for units was made in {journal}; gateways on other journals have to share it\n"
    assert (again.code, again.out, again.err) == (0, "imported 0 outcomes; left out 2 duplicates\n", "")
    assert run("outcomes", "import", "a.csv", *MAPPED, "--json").json["duplicates"] == 2


def test_bad_rows_are_listed_and_the_others_are_imported_when_asked_to(run: Run, journal: Path) -> None:
    ran = run("outcomes", "import", "bad.csv", *MAPPED)
    assert (ran.code, ran.out) == (65, "")
    assert "refused: bad.csv: row 3: value: 'nan'; expected a finite number\n" in ran.err
    assert ran.err.endswith("1 row refused, so nothing is imported; --skip-bad imports the others\n")
    assert run("outcomes", "import", "bad.csv", *MAPPED, "--skip-bad").out == "imported 2 outcomes in 1 file\n"
    again = run("outcomes", "import", "bad.csv", *MAPPED)
    assert again.code == 65  # what is refused stays so, whatever else is there


def test_an_id_with_two_contents_is_said(run: Run, journal: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TABLE + "2,bob,2026-11-28,7\n")
    ran = run("outcomes", "import", "a.csv", *MAPPED)
    assert ran.out == "imported 3 outcomes in 1 file\n"
    assert "1 id with more than one content: all of it is kept, and an analysis counts none of it" in ran.err


def test_a_database_can_be_asked(run: Run, journal: Path) -> None:
    with sqlite3.connect("shop.db") as database:
        database.execute("CREATE TABLE orders AS SELECT 1 AS outcome_id, 'ann' AS unit, '2026-11-28' AS ts")
    ran = run("outcomes", "import", "--sql", "sqlite:shop.db", "SELECT * FROM orders", "--name", "order")
    assert (ran.code, ran.out) == (0, "imported 1 outcome in 1 file\n")


def test_ids_can_be_made_of_columns(run: Run, journal: Path) -> None:
    ran = run("outcomes", "import", "a.csv", "--map", "who=unit", "--name", "order", "--id-from", "who,ts")
    assert (ran.code, ran.out) == (0, "imported 2 outcomes in 1 file\n")
