"""What is printed, and how numbers are said."""

from __future__ import annotations

import pytest

from turnout_server.cli import output


def test_text_cannot_steer_a_terminal() -> None:
    assert output.plain("a\x1b[2Jb\n") == "a [2Jb "
    assert output.one_line(" a \r\n\t b ") == "a b"


def test_columns_are_aligned_and_empty_ones_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("name", "none", "size"), [("a", None, 5), ("long", "", 123)], right=("size",))
    assert capsys.readouterr().out == "NAME  SIZE\na        5\nlong   123\n"


def test_a_number_that_json_does_not_have_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    output.json({"x": float("nan")}, indent=0)
    assert capsys.readouterr().out == '{"x":null}\n'


@pytest.mark.parametrize(
    ("count", "said"),
    [(None, ""), (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_500, "1.0 MB"), (3_240_000, "3.2 MB")],
)
def test_bytes_are_said_as_people_say_them(count: int | None, said: str) -> None:
    assert output.size(count) == said


def test_numbers_are_short() -> None:
    assert [output.percent(0.125), output.percent(1), output.number(517.123456)] == ["12.5 %", "100 %", "517.123"]
    assert output.named({"rmse": 517.0, "mae": 0.5}) == "mae 0.5, rmse 517"


def test_one_is_counted_as_one() -> None:
    assert [output.counted(count, "row") for count in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
