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


TRIED = """
layers:
  l: {salt: l, holdout: 0.1}
  other: {salt: o}
routes:
  r:
    salt: s
    targets: [{name: a, model: m, version: 1, weight: 3}, {name: b, model: m, version: 2, weight: 1}]
    experiment: {name: x, control: a, layer: l, buckets: [[0, 300], [400, 401]], enrolment: 0.2}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("enrolment: 0.2", "enrolment: 0.25", ["~ r: experiment x: enrolment 20 % -> 25 %"]),
        ("[400, 401]", "[400, 500]", ["~ r: experiment x: buckets 0-299, 400 -> 0-299, 400-499"]),
        ("control: a", "control: b", ["~ r: experiment x: control a -> b"]),
        ("layer: l", "layer: other", ["~ r: experiment x: layer l -> other"]),
        (
            ", layer: l, buckets: [[0, 300], [400, 401]]",
            "",
            ["~ r: experiment x: layer l -> none", "~ r: experiment x: buckets 0-299, 400 -> 0-999"],
        ),
        ("holdout: 0.1", "holdout: 0.2", ["~ r: experiment x: holdout 10 % -> 20 %"]),
        ("salt: l", "salt: k", ["~ r: experiment x: a new salt of layer l: other units take part"]),
        ("salt: o", "salt: p", []),
        (
            "name: x",
            "name: y",
            [
                "~ r: experiment x: it goes",
                "~ r: experiment y: a new one (buckets 0-299, 400 of layer l, holdout 10 %, enrolment 20 %, "
                "others get a)",
            ],
        ),
    ],
)
def test_a_change_of_an_experiment_is_a_sentence(old: str, new: str, said: list[str]) -> None:
    assert compared(listed(parse(TRIED)), listed(parse(TRIED.replace(old, new)))) == said


def test_only_units_that_take_part_move_with_a_weight() -> None:
    before, after = (parse(text).require("r") for text in (TRIED, TRIED.replace("weight: 3", "weight: 1")))
    moved = moves(before, after, map(str, range(4000)))
    assert list(moved) == [("a", "b")]
    assert moved["a", "b"] == pytest.approx(4000 * 0.25 * before.gate.share, abs=30)


def test_the_same_table_changes_nothing() -> None:
    assert changes(BEFORE + "\n# the same\n") == []


def test_who_moves_is_counted_by_where_from_and_where_to() -> None:
    before, after = (parse(text).require("r") for text in (BEFORE, BEFORE.replace("weight: 3", "weight: 1")))
    moved = moves(before, after, map(str, range(4000)))
    assert list(moved) == [("a", "b")]
    assert moved["a", "b"] == pytest.approx(1000, abs=120)
    assert moves(before, before, map(str, range(100))) == {}
