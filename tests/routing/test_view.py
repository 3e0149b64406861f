"""What routes and labels mean at one moment."""

from __future__ import annotations

import pytest

from tests.gateway.world import table
from turnout_server.routing.text import parse
from turnout_server.routing.view import View
from turnout_server.vocabulary.versions import VersionKey


def test_a_view_knows_what_each_target_and_mirror_stands_for() -> None:
    mirrors = "    mirrors:\n      - {model: rank, version: 4}\n"
    view = View(
        parse(table("a price champion 1", "b price 2 1", "c price gone 0", more=mirrors)), {"price": {"champion": 7}}
    )
    assert view.key_of("price", "champion") == VersionKey("price", 7)
    assert view.key_of("price", 2) == VersionKey("price", 2)
    assert view.key_of("rank", 4) == VersionKey("rank", 4)
    assert view.key_of("price", "gone") is None


def test_in_use_is_what_routes_mirrors_or_labels_stand_on() -> None:
    view = View(parse(table("b price 2 1")), {"price": {"old": 1}})
    assert view.in_use() == {VersionKey("price", 1), VersionKey("price", 2)}
    assert View().in_use() == frozenset()


def epoch(*targets: str, salt: str = "s", more: str = "", champion: int = 7) -> str:
    text = table(*targets, more=more).replace("salt: s", f"salt: {salt}")
    return View(parse(text), {"price": {"champion": champion}}).epoch_of("price")


def test_an_epoch_is_salt_targets_weights_and_resolved_versions_and_nothing_else() -> None:
    split = ("a price champion 1", "b price 2 1")
    first = epoch(*split)
    assert len(first) == 16
    assert epoch(*reversed(split)) == first, "the order of the targets decides nothing"
    assert epoch(*split, more="    mirrors:\n      - {model: rank, version: 4}\n") == first
    others = {
        epoch(*split, salt="other"),
        epoch(*split, champion=8),
        epoch("a price champion 1", "b price 2 3"),
        epoch("a price champion 1", "c price 2 1"),
    }
    assert len(others | {first}) == 5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("enrolment: 0.1", "enrolment: 0.9"),
        ("[[0, 10]]", "[[0, 900]]"),
        ("holdout: 0", "holdout: 0.5"),
        ("layers:", "layers:\n  search: {salt: m}"),
    ],
)
def test_who_takes_part_does_not_enter_the_epoch(old: str, new: str) -> None:
    """So an experiment may be ramped by enrolment within one epoch."""
    experiment = "    experiment: {name: x, control: a, layer: l, buckets: [[0, 10]], enrolment: 0.1}\n"
    text = table("a price 1 1", "b price 2 1", more=f"{experiment}layers:\n  l: {{salt: l, holdout: 0}}\n")
    assert text.replace(old, new) != text
    assert View(parse(text.replace(old, new))).epoch_of("price") == View(parse(text)).epoch_of("price")


def test_a_route_that_is_not_there_has_no_epoch() -> None:
    assert View().epoch_of("price") == ""


def test_all_epochs_are_those_of_each_route() -> None:
    view = View(parse(table("a price 1 1", "b price 2 1")))
    assert dict(view.epochs) == {"price": view.epoch_of("price")}
