"""Who moved a model's labels, and when."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def moved(run: Run, store: Path) -> Path:
    """Labels that were moved by a command, by hand, and by a command again."""
    assert run("label", "price", "champion", 2).code == 0
    labels = store / "models/price/labels.json"
    labels.write_text('{"champion": 1, "challenger": 2}')
    assert run("label", "price", "challenger", "--delete").code == 0
    return labels


def test_every_move_has_its_author(run: Run, moved: Path) -> None:
    rows = [row for row in run("label", "--history", "price", "--json").json if row["label"]]
    assert [(row["label"], row["from"], row["to"], row["how"]) for row in rows[:3]] == [
        ("challenger", 2, None, "turnout label"),
        ("champion", 2, 1, "changed outside Turnout"),
        ("champion", 1, 2, "turnout label"),
    ]
    assert ["@" in row["who"] for row in rows[:3]] == [True, False, True]


def test_one_label_alone(run: Run, moved: Path) -> None:
    rows = run("label", "price", "champion", "--history", "--json").json
    assert {row["label"] for row in rows} == {"champion"}


def test_what_else_happened_is_among_it_and_lines_are_short(run: Run, moved: Path) -> None:
    shown = run("label", "price", "--history").out.splitlines()
    assert any(line.endswith("version 2 published") for line in shown)
    assert any(line.endswith("champion 1 -> 2") for line in shown)
    assert max(map(len, shown)) <= 80


def test_who_asks_wrongly_is_told(run: Run, moved: Path) -> None:
    assert run("label", "prices", "--history").code == 66
    assert run("label", "price").code == 2
    assert run("label", "price", "champion", 1, "--history").code == 2
