"""A place in a document leads to what stands there."""

from __future__ import annotations

import pytest

from turnout_server.routing.places import resolve, shown

DOCUMENT = {"targets": [{"weight": 1}, {"weight": "much"}]}


@pytest.mark.parametrize(
    ("place", "there"),
    [
        ("$", DOCUMENT),
        ("$.targets[1].weight", "much"),
        ("$.targets[7].weight", DOCUMENT["targets"]),
        ("$.targets[1].weight.more", "much"),
        ("$.nowhere", DOCUMENT),
    ],
)
def test_a_place_is_followed_as_far_as_it_leads(place: str, there: object) -> None:
    assert resolve(place, DOCUMENT) == there


def test_what_is_long_is_cut() -> None:
    assert shown("a") == "'a'"
    assert shown("a" * 500) == "'" + "a" * 79 + "..."
