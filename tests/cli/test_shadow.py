"""`turnout shadow report`, run as from a shell."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
import typer

from tests.cli.conftest import Run
from tests.journal.journals import row, write_segment
from turnout_server.cli.shadow import duration


def copy(seq: int, of: int, **values: object) -> dict[str, object]:
    return row(seq, copy_of=of, served=None, version=2, request_id=f"r-{of}", **values)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "journal"
    rows = [
        row(0, took_us=1000),
        copy(1, 0, took_us=1500, shadow_delta=0.25, shadow_delta_most=0.25, shadow_absolute=100.0),
        row(2, took_us=1000),
        copy(3, 2, took_us=1500, code="MODEL_FAILED"),
    ]
    write_segment(folder, rows)
    monkeypatch.setenv("TURNOUT_JOURNAL", str(folder))
    monkeypatch.setenv("COLUMNS", "80")
    return folder


def test_the_report_is_within_80_columns_and_says_what_applies(run: Run, journal: Path) -> None:
    ran = run("shadow", "report", "price")
    assert (ran.code, ran.err) == (0, "")
    assert all(len(line) <= 80 for line in ran.out.splitlines())
    assert "price 2: 2 copies, 2 with their original, 1 compared" in ran.out
    assert "not compared: copy MODEL_FAILED 1" in ran.out
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "errors 50 % 0 % +50 %" in lines
    assert "+0.50 ms" in ran.out
    assert "price, off by more than 10 % 100 %" in lines
    assert "overlap" not in ran.out


def test_json_has_everything(run: Run, journal: Path) -> None:
    (mirror,) = run("shadow", "report", "price", "--json", "--threshold", "0.3").json["mirrors"]
    assert (mirror["model"], mirror["version"], mirror["pairs"]) == ("price", 2, 2)
    assert mirror["figures"]["share_over_threshold"] == 0
    assert mirror["worst"][0]["request_id"] == "r-0"


def test_a_route_without_copies_is_no_error_and_one_without_records_is(run: Run, journal: Path) -> None:
    write_segment(journal, [row(4, route="ranking")], n=1)
    quiet, unknown = run("shadow", "report", "ranking"), run("shadow", "report", "nope")
    assert (quiet.code, quiet.out) == (0, "")
    assert (unknown.code, unknown.out, unknown.err.count("\n")) == (66, "", 1)
    assert run("shadow", "report", "price", "--since", "1s").code == 0


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("shadow frobnicate", 2),
        ("shadow report", 2),
        ("shadow report price --since yesterday", 2),
        ("shadow report price --since 999999d", 2),
        ("shadow report price --threshold -1", 2),
        ("shadow report price --threshold nan", 2),
        ("shadow report price --threshold inf", 2),
        ("shadow report price --journal nowhere", 66),
    ],
)
def test_wrong_input_is_one_line_and_a_documented_code(run: Run, journal: Path, line: str, code: int) -> None:
    ran = run(*line.split())
    assert (ran.code, ran.out, ran.err.count("\n")) == (code, "", 1)
    assert ran.err.startswith("turnout: error: ")


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h", 3600), ("7d", 604_800)])
def test_durations(text: str, seconds: int) -> None:
    assert duration(text) == datetime.timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1.5h", "1w", "1 h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        duration(text)
