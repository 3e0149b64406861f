"""What a route table was, who changed it, and how to get it back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.e2e.tiny_store import ROUTES
from turnout_server.routing.text import parse
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.errors import StaleWriteError

BY_HAND = ROUTES.replace("weight: 90", "weight: 70")


@pytest.fixture
def changed(run: Run, store: Path) -> Path:
    """A table that was changed by a command, by hand, and by a command again."""
    assert run("routes", "set", "price", "canary=25%").code == 0
    table = store / "routes.yaml"
    table.write_text(table.read_text().replace("weight: 90", "weight: 70"))
    assert run("routes", "set", "ranking", "canary=50%").code == 0
    return table


def test_the_history_names_who_changed_what(run: Run, changed: Path) -> None:
    rows = run("routes", "history", "--json").json
    assert [row["how"] for row in rows] == ["turnout routes set", "changed outside Turnout", "turnout routes set"]
    assert "@" in rows[0]["who"]
    assert rows[1]["who"] == rows[1]["at"] == ""
    assert rows[2]["changes"] == ["~ price: control: share 50 % -> 75 %", "~ price: canary: share 50 % -> 25 %"]
    assert [row["before"] for row in rows[:-1]] == [row["after"] for row in rows[1:]]
    shown = run("routes", "history", "-n", 1)
    assert shown.out.splitlines()[0].endswith("  now")
    assert max(map(len, shown.out.splitlines())) <= 80
    assert shown.err == "2 earlier; -n shows more\n"


def test_a_store_without_a_history_says_so(run: Run, store: Path) -> None:
    assert run("routes", "history").err == "nothing has changed the route table through Turnout yet\n"
    assert run("routes", "rollback").code == run("routes", "diff").code == 66


def test_a_difference_is_shown_in_sentences_and_lines(run: Run, changed: Path) -> None:
    found = run("routes", "diff", "--json").json
    assert found["changes"] == ["~ ranking: control: share 87.5 % -> 50 %", "~ ranking: canary: share 12.5 % -> 50 %"]
    assert [line for line in found["diff"][2:] if line[0] in "+-"] == [
        "-      - {name: control, model: ranking, version: champion, weight: 70}",
        "-      - {name: canary, model: ranking, version: challenger, weight: 10}",
        "+      - {name: control, model: ranking, version: champion, weight: 40}",
        "+      - {name: canary, model: ranking, version: challenger, weight: 40}",
    ]
    first = parse(ROUTES).digest
    both = run("routes", "diff", first[:8], "now", "--json").json
    assert (both["before"], both["after"]) == (first, found["after"])
    assert len(both["changes"]) == 4
    assert run("routes", "diff", "now", "now").out == "no changes\n"


def test_a_table_comes_back_as_it_was(run: Run, changed: Path) -> None:
    present = changed.read_text()
    assert run("routes", "rollback", "--dry-run").code == 0
    assert changed.read_text() == present
    back = run("routes", "rollback", "--json").json
    assert back["changes"] == ["~ ranking: control: share 50 % -> 87.5 %", "~ ranking: canary: share 50 % -> 12.5 %"]
    assert "weight: 70" in changed.read_text()
    assert run("routes", "rollback", parse(ROUTES).digest[:6]).code == 0
    assert changed.read_text() == ROUTES
    assert [row["how"] for row in run("routes", "history", "-n", 2, "--json").json] == ["turnout routes rollback"] * 2


def test_what_is_no_longer_possible_does_not_come_back(run: Run, changed: Path, store: Path) -> None:
    present = changed.read_text()
    DirectoryStore(store).set_label("ranking", "challenger", None)
    ran = run("routes", "rollback")
    assert ran.code == 65
    assert "'ranking' has no label 'challenger'" in ran.err
    assert changed.read_text() == present


@pytest.mark.parametrize(
    ("digest", "code"), [("zz", 65), ("", 65), ("0123456789", 66), ("f" * 64, 66), ("../../x", 66)]
)
def test_an_unknown_digest_is_refused(run: Run, changed: Path, digest: str, code: int) -> None:
    for command in (("rollback", digest), ("diff", digest)):
        assert run("routes", *command).code == code


def test_a_table_that_was_not_kept_is_said_to_be(run: Run, changed: Path, store: Path) -> None:
    first = parse(ROUTES).digest
    (store / "audit/content" / first).unlink()
    ran = run("routes", "rollback", first[:8])
    assert ran.code == 66
    assert "was not kept" in ran.err
    assert "was not kept" in run("routes", "history").out


def test_somebody_who_was_faster_is_not_overwritten(run: Run, changed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(*_: object) -> str:
        raise StaleWriteError("the route table was changed since it was read; read it again")

    monkeypatch.setattr(DirectoryStore, "write_routes", overtaken)
    assert run("routes", "rollback").code == run("routes", "set", "price", "canary=1").code == 75
