"""Route tables as rows, and what a new one changes."""

from __future__ import annotations

import pytest

from turnout_server.cli import table
from turnout_server.routing.stored import StoredNames
from turnout_server.routing.text import parse

BEFORE = """
routes:
  r:
    task: price
    salt: s
    targets: [{name: a, model: m, version: champion, weight: 3}, {name: b, model: m, version: 2, weight: 1}]
"""


def changes(after: str) -> list[str]:
    return table.changes(table.from_table(parse(BEFORE)), table.from_table(parse(after)))


def test_shares_and_resolved_versions_are_listed() -> None:
    parsed = parse(BEFORE)
    (route,) = table.from_table(parsed, StoredNames(parsed, labels={"m": {"champion": 7}}))
    assert [(arm.share, arm.resolved) for arm in route.targets] == [(0.75, 7), (0.25, 2)]
    assert [arm.resolved for arm in table.from_table(parse(BEFORE))[0].targets] == [None, None]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("task: price", "task: ranking", ["~ r: task price -> ranking"]),
        ("version: 2", "version: 4", ["~ r: b: m 2 -> m 4"]),
        ("weight: 3", "weight: 1", ["~ r: a: share 75 % -> 50 %", "~ r: b: share 25 % -> 50 %"]),
        ("  r:", "  q:", ["- r: the route goes", "+ q: a new route (price: a 75 %, b 25 %)"]),
        ("name: b", "name: c", ["~ r: b: the target goes (25 %)", "~ r: c: a new target, m 2, 25 %"]),
        ("salt: s", "salt: s\n    fallback: a", ["~ r: fallback: none -> a"]),
        ("salt: s", "salt: s\n    mirrors: [{model: m, version: 9}]", ["~ r: mirrors: 0 -> 1"]),
    ],
)
def test_a_change_is_a_sentence(old: str, new: str, said: list[str]) -> None:
    assert changes(BEFORE.replace(old, new)) == said


def test_the_same_table_changes_nothing() -> None:
    assert changes(BEFORE + "\n# the same\n") == []


def test_units_beyond_three_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    rule = "salt: s\n    overrides: [{when: {header: {x: y}, unit: [u, v, w, x, z]}, target: a}]"
    table.show(table.from_table(parse(BEFORE.replace("salt: s", rule))))
    assert "r: override x=y and unit u, v, w and 2 more -> a" in capsys.readouterr().out
