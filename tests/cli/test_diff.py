"""What another version would have answered to the rows of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run

ROWS = "carat,cut\n1,Ideal\n2,Fair\n0,Ideal\n"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.csv"
    file.write_text(ROWS)
    return file


def test_prices_are_compared_row_by_row_without_a_gateway(run: Run, store: Path, rows: Path) -> None:
    """1000 a carat and 1100 a carat."""
    found = run("diff", "price@champion", "price@challenger", "--data", rows, "--json").json
    assert (found["a"], found["b"], found["rows"]) == ("price 1", "price 2", 3)
    assert (found["measures"]["compared"], found["measures"]["differ"]) == (3, 2)
    assert found["measures"]["delta_most"] == pytest.approx(0.1, rel=1e-5)
    assert found["outputs"]["price"]["apart_most"] == pytest.approx(200)
    assert {row["row"] for row in found["worst"]} == {0, 1}
    assert found["worst"][0]["b"]["price"] == pytest.approx(found["worst"][0]["a"]["price"] * 1.1)


def test_it_is_shown_in_lines_of_a_terminal(run: Run, store: Path, rows: Path) -> None:
    shown = run("diff", "price@1", "price@2", "--data", rows, "--worst", 1).out
    assert shown.startswith("price 1 -> price 2, 3 rows: 2 differ\n")
    assert "the rows that differ most:" in shown
    assert "1500 -> 1650" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_same_version_differs_in_nothing(run: Run, store: Path, rows: Path) -> None:
    found = run("diff", "price", "price@champion", "--data", rows, "--json").json
    assert (found["measures"]["differ"], found["worst"]) == (0, [])


def test_a_ranking_is_compared_as_a_list(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "candidates.json"
    file.write_text('[{"price": 1, "discount": 5}, {"price": 2, "discount": 0}, {"price": 3, "discount": 1}]')
    found = run("diff", "ranking@1", "ranking@2", "--data", file, "--json").json
    assert found["measures"]["compared"] == 1
    assert "tau_mean" in found["measures"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("price@nope", "price@1"), 66, "price has no version or label 'nope'; it has challenger, champion, 1, 2"),
        (("price@9", "price@1"), 66, "price has no version or label '9'"),
        (("@1", "price@1"), 2, "expected MODEL@VERSION"),
        (("prices@1", "price@1"), 66, "prices"),
        (("price@1", "ranking@1"), 65, "no feature"),
    ],
)
def test_who_asks_wrongly_is_told(
    run: Run, store: Path, rows: Path, arguments: tuple[str, str], code: int, said: str
) -> None:
    ran = run("diff", *arguments, "--data", rows)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_a_value_that_the_model_does_not_take_is_named(run: Run, store: Path, rows: Path) -> None:
    rows.write_text("carat,cut\nmany,Ideal\n")
    ran = run("diff", "price@1", "price@2", "--data", rows)
    assert ran.code == 65
    assert "carat" in ran.err


def test_too_many_rows_are_refused(run: Run, store: Path, rows: Path) -> None:
    rows.write_text("carat,cut\n" + "1,Ideal\n" * 10_001)
    assert run("diff", "price@1", "price@2", "--data", rows).code == 65
