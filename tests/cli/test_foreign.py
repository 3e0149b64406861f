"""What imports say of rows that they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from turnout_server.cli import exits, foreign
from turnout_server.cli.exits import CommandError
from turnout_server.journal.foreign_rows import Refusals


def test_what_is_left_out_and_made_is_said_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    foreign.remark({"a.csv": ("x", "y")}, Refusals(12, ["a.csv: row 1: no"]), Path("journal"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "note: a.csv: not imported: x, y",
        "refused: a.csv: row 1: no",
        "refused: and 11 more",
        "note: a key for units was made in journal; gateways on other journals have to share it",
    ]


def test_nothing_to_say_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    foreign.remark({}, Refusals(), None)
    assert capsys.readouterr().err == ""


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as raised:
        foreign.found([tmp_path])
    assert raised.value.code == exits.NOT_FOUND


@pytest.mark.parametrize(("skip_bad", "says"), [(False, "so nothing is imported; --skip-bad"), (True, "and no other")])
def test_refused_rows_are_data_that_is_wrong(skip_bad: bool, says: str) -> None:
    error = foreign.all_or_nothing(Refusals(2, []), skip_bad)
    assert error.code == exits.INVALID
    assert error.message.startswith(f"2 rows refused, {says}")
