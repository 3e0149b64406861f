"""Route tables as rows, and read with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from turnout_server.cli import table
from turnout_server.cli.exits import CommandError
from turnout_server.routing.changes import listed
from turnout_server.routing.text import parse
from turnout_server.store.store import DirectoryStore

BEFORE = """
routes:
  r:
    task: price
    salt: s
    targets: [{name: a, model: m, version: champion, weight: 3}, {name: b, model: m, version: 2, weight: 1}]
"""


def test_units_beyond_three_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    rule = "salt: s\n    overrides: [{when: {header: {x: y}, unit: [u, v, w, x, z]}, target: a}]"
    table.show(listed(parse(BEFORE.replace("salt: s", rule))))
    assert "r: override x=y and unit u, v, w and 2 more -> a" in capsys.readouterr().out


def test_what_is_wrong_is_said_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"new\.yaml: \$\.routes"):
        table.read("new.yaml", "routes: 3", None)
    (tmp_path / "models").mkdir()
    with pytest.raises(CommandError, match="the store has no model 'm'"):
        table.read("new.yaml", BEFORE, DirectoryStore(tmp_path))
    assert table.read("new.yaml", BEFORE, None).get("r")
