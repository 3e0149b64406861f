"""`turnout journal`, run as from a shell."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.journal.journals import BOOT, INSTANCE, row, write_counters, write_segment
from turnout_server.cli.journal import records
from turnout_server.journal.keys import hashed, key_id

KEY = b"k" * 16


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal of one killed boot, which commands use when they are not told otherwise."""
    folder = tmp_path / "journal"
    ann = {"unit": hashed("ann", KEY), "unit_key_id": key_id(KEY)}
    write_segment(folder, [row(0, **ann), row(1, route="ranking", ts="2026-11-28 06:00:01+00"), row(2, route=None)])
    write_counters(folder, offered=9, written=3, segments=1, ring_full=2)
    (folder / ".key").write_text(KEY.hex())
    (folder / "file").write_text("x")
    monkeypatch.setenv("TURNOUT_JOURNAL", str(folder))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(folder)
    return folder


WRONG = [
    ("journal frobnicate", 2),
    ("journal query", 2),
    ("journal forget", 2),
    ("journal status --journal", 2),
    ("journal status --journal nowhere", 66),
    ("journal status --journal file", 66),
    ("journal verify --journal nowhere", 66),
    ("journal tail --journal nowhere", 66),
    ("journal tail -n -1", 2),
    ("journal tail -n x", 2),
    ("journal tail --unit ann --key-file nowhere", 78),
    ("journal tail --unit ann --key-file file", 78),
    ("journal query SELEC", 65),
    ("journal query DROP_VIEW_records", 65),
    ("journal query nope --journal nowhere", 66),
    ("journal forget ann --journal nowhere", 66),
    ("journal forget ann --key-file nowhere", 78),
    ("journal import", 2),
    ("journal import nowhere.csv", 66),
    ("journal import file", 65),
    ("journal import file --map x=ts --map x=assigned --route price --key-file nowhere", 78),
    ("journal import file --map x=ts --map x=assigned --route price --journal file", 69),
]


@pytest.mark.parametrize(("line", "code"), WRONG)
def test_wrong_input_is_one_line_and_a_documented_code(run: Run, journal: Path, line: str, code: int) -> None:
    ran = run(*line.split())
    assert ran.code == code, ran.err
    assert ran.out == ""
    assert ran.err.startswith("turnout: error: ")
    assert ran.err.count("\n") == 1


def test_a_journal_has_to_be_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TURNOUT_JOURNAL", raising=False)
    ran = run("journal", "status")
    assert ran.code == 2
    assert "--journal" in ran.err


@pytest.mark.parametrize("sql", ["", "COPY records TO 'x'", "SELECT 1; SELECT 2", "FROM read_text('.key')"])
def test_only_one_select_is_answered(run: Run, journal: Path, sql: str) -> None:
    ran = run("journal", "query", sql)
    assert (ran.code, ran.out, ran.err.count("\n")) == (65, "", 1)


def test_status_says_what_is_missing_and_verify_fails_for_it(run: Run, journal: Path) -> None:
    shown, checked = run("journal", "status"), run("journal", "verify")
    assert (shown.code, checked.code) == (0, 1)
    assert shown.out == checked.out
    assert "at most 4 records are missing" in shown.out.replace("\n  ", " ")
    assert "dropped: ring_full 2" in shown.out
    assert all(len(line) <= 80 for line in shown.out.splitlines())
    (boot,) = run("journal", "status", "--json").json["boots"]
    assert (boot["boot"], boot["missing"], boot["is_accounted"]) == (BOOT, 4, False)


def test_verify_passes_where_all_is_accounted_for(run: Run, journal: Path) -> None:
    write_counters(journal, offered=5, written=3, segments=1, ring_full=2, closed=True)
    ran = run("journal", "verify", "--json")
    assert (ran.code, ran.err, ran.json["is_accounted"]) == (0, "", True)


def test_a_narrow_answer_is_a_table(run: Run, journal: Path) -> None:
    ran = run("journal", "query", "SELECT route, count(*) AS n FROM records GROUP BY route ORDER BY route NULLS LAST")
    assert ran.out.splitlines() == ["ROUTE    N", "price    1", "ranking  1", "-        1"]
    assert ran.err == ""


def test_a_wide_answer_is_shown_whole_one_value_below_the_other(run: Run, journal: Path) -> None:
    ran = run("journal", "query", "SELECT *, repeat('abcdefghij', 30) AS long FROM records WHERE seq = 0")
    lines = ran.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "".join(line.split()[-1] for line in lines).count("abcdefghij") >= 25
    assert "".join(ran.out.split()).count("abcdefghij") == 30
    assert "one below the other" in ran.err


def test_json_has_bytes_in_hexadecimal_and_no_nan(run: Run, journal: Path) -> None:
    ran = run(
        "journal", "query", "SELECT unit, 'nan'::DOUBLE AS a, 1 AS b, 2 AS b FROM records WHERE seq = 0", "--json"
    )
    assert ran.json == [{"unit": hashed("ann", KEY).hex(), "a": None, "b": 1, "b_2": 2}]


def test_a_damaged_segment_is_left_out_and_named(run: Run, journal: Path) -> None:
    damaged = write_segment(journal, [row(3)], n=1)
    damaged.write_bytes(b"PAR1")
    ran = run("journal", "query", "SELECT count(*) AS n FROM records")
    assert ran.out.split() == ["N", "3"]
    assert damaged.name in ran.err


def test_tail_shows_the_newest_last(run: Run, journal: Path) -> None:
    assert [one["seq"] for one in run("journal", "tail", "-n", "2", "--json").json] == [2, 1]
    line = run("journal", "tail", "-n", "1").out
    assert line == "2026-11-28 06:00:01.000  ranking  control  price 1  SPLIT  OK  1.0 ms  r-1\n"


@pytest.mark.parametrize(("arguments", "seqs"), [("--unit ann", [0]), ("--unit bob", []), ("--route ranking", [1])])
def test_tail_shows_one_units_or_one_routes(run: Run, journal: Path, arguments: str, seqs: list[int]) -> None:
    assert [one["seq"] for one in run("journal", "tail", *arguments.split(), "--json").json] == seqs


class _Enough(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("which", [["--unit", "nobody"], ["--route", "nowhere"]])
def test_tail_says_when_there_is_nothing_to_show(run: Run, journal: Path, which: list[str]) -> None:
    ran = run("journal", "tail", *which)
    assert (ran.code, ran.out, ran.err) == (0, "", "no such records\n")


def test_tail_follows_what_new_segments_bring(journal: Path) -> None:
    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            write_segment(journal, [row(3), row(4)], n=1)
        if len(waits) == 4:
            raise _Enough

    waits: list[float] = []
    followed = records(journal, "true", {}, 1, wait)
    seen = [[one[columns.index("seq")] for one in rows] for columns, rows, _ in itertools.islice(followed, 2)]
    with pytest.raises(_Enough):
        next(followed)
    assert seen == [[1], [3, 4]]


def test_forget_says_how_many_went_and_what_it_could_not_look_into(run: Run, journal: Path) -> None:
    ran = run("journal", "forget", "ann")
    assert (ran.code, ran.out, ran.err) == (0, "forgot 1 record in 1 segment\n", "")
    assert run("journal", "query", "SELECT count(*) AS n FROM records", "--json").json == [{"n": 2}]
    assert json.loads((journal / "audit.jsonl").read_text())["rows"] == 1
    (journal / f"date=2026-11-28/hour=06/{INSTANCE}-{BOOT}-1.parquet").write_bytes(b"x")
    ran = run("journal", "forget", "ann", "--json")
    assert ran.code == 1
    assert ran.json["rows"] == 0


LOG = "who,ts,assigned,note\nann,2026-11-28 06:00,a,x\nbob,2026-11-28 07:00,b,y\n"


def test_a_foreign_log_is_imported_once_and_verified(run: Run, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    line = ("journal", "import", tmp_path / "log.csv", "-j", tmp_path / "new", "--map", "who=unit", "--route", "price")
    first, again = run(*line), run(*line)
    assert (first.code, again.code) == (0, 0)
    assert first.out.replace("\n  ", " ").startswith("imported 2 records in 2 segments as import-")
    assert "not imported: note" in first.err
    assert "a key for units was made" in first.err
    assert "is there already, with 2 records: nothing was done" in again.out.replace("\n  ", " ")
    assert run("journal", "verify", "-j", tmp_path / "new").code == 0
    assert run(*line, "--json").json["was_there"] is True


def test_bad_rows_are_listed_and_the_others_are_imported_when_asked_to(run: Run, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG + "cid,,a,\n")
    line = ("journal", "import", tmp_path / "log.csv", "-j", tmp_path / "new", "--route", "price", "--json")
    ran = run(*line)
    assert (ran.code, ran.out) == (65, "")
    assert "log.csv: row 3: ts: nothing; expected a value" in ran.err
    assert ran.err.endswith("1 row refused, so nothing is imported; --skip-bad imports the others\n")
    done = run(*line, "--skip-bad")
    assert (done.code, done.json["rows"], done.json["refused"]["count"]) == (0, 2, 1)


def test_a_log_without_rows_is_no_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("ts,assigned\n")
    ran = run("journal", "import", tmp_path / "log.csv", "-j", tmp_path / "new", "--route", "price")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.endswith("no rows: nothing was done\n")
