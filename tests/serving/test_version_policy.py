"""What to wish for."""

from __future__ import annotations

import pytest

from turnout_server.serving.version_policy import All, Latest, Specific, VersionPolicy, aspired
from turnout_server.vocabulary.versions import VersionKey

VERSIONS = {"price": (1, 2, 3), "rank": (5,)}


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (Latest(0), ()),
        (Latest(1), (3,)),
        (Latest(9), (1, 2, 3)),
        (All(), (1, 2, 3)),
        (Specific(frozenset({2, 7})), (2,)),
    ],
)
def test_a_policy_chooses_among_the_versions_that_exist(policy: VersionPolicy, chosen: tuple[int, ...]) -> None:
    assert tuple(policy.choose((1, 2, 3))) == chosen


def test_what_labels_and_routes_name_is_wished_for_besides() -> None:
    wish = aspired(VERSIONS, {"price": {"champion": 1}}, {"price": {2}}, Latest(1))
    assert wish == {VersionKey("price", number) for number in (1, 2, 3)} | {VersionKey("rank", 5)}


def test_what_does_not_exist_is_not_wished_for() -> None:
    wish = aspired(VERSIONS, {"price": {"champion": 9}}, {"price": {8, "nolabel"}, "nomodel": {1}}, Latest(0))
    assert wish == frozenset()


def test_nothing_of_a_suspended_model_is_wished_for() -> None:
    assert aspired(VERSIONS, {"price": {"champion": 1}}, {}, All(), {"price"}) == {VersionKey("rank", 5)}
