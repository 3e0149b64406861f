"""What another table changes, in sentences and units."""

from __future__ import annotations

import pytest

from turnout_server.routing.changes import changes as compared
from turnout_server.routing.changes import listed, moves
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
    return compared(listed(parse(BEFORE)), listed(parse(after)))


def test_shares_and_resolved_versions_are_listed() -> None:
    parsed = parse(BEFORE)
    (route,) = listed(parsed, StoredNames(parsed, labels={"m": {"champion": 7}}))
    assert [(arm.share, arm.resolved) for arm in route.targets] == [(0.75, 7), (0.25, 2)]
    assert [arm.resolved for arm in listed(parse(BEFORE))[0].targets] == [None, None]


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


def test_who_moves_is_counted_by_where_from_and_where_to() -> None:
    before, after = (parse(text).require("r").route for text in (BEFORE, BEFORE.replace("weight: 3", "weight: 1")))
    moved = moves(before, after, map(str, range(4000)))
    assert list(moved) == [("a", "b")]
    assert moved["a", "b"] == pytest.approx(1000, abs=120)
    assert moves(before, before, map(str, range(100))) == {}
