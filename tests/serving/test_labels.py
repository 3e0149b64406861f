"""What a label stands for while it moves."""

from __future__ import annotations

import pytest

from turnout_server.serving.labels import effective_labels
from turnout_server.vocabulary.versions import VersionKey, resolve


def effective(stored: int | None, before: int | None, available: set[int], *, needed: bool = True) -> int | None:
    """Return the version that the label gets, None for a label that is gone."""
    labels = effective_labels(
        {"price": {} if stored is None else {"champion": stored}},
        {"price": {} if before is None else {"champion": before}},
        {"price": {"champion"}} if needed else {},
        lambda key: key.version in available,
    )
    return labels["price"].get("champion")


@pytest.mark.parametrize(
    ("stored", "before", "available", "now"),
    [
        (2, 1, {1}, 1),  # the new one is not there yet
        (2, 1, {1, 2}, 2),
        (2, 1, set(), 2),  # neither serves: what is stored counts
        (2, None, set(), 2),  # never served before
        (1, 1, set(), 1),
        (None, 1, {1}, 1),  # removed from the store, and a route stands on it
    ],
)
def test_a_label_moves_once_its_new_version_is_available(
    stored: int | None, before: int | None, available: set[int], now: int
) -> None:
    assert effective(stored, before, available) == now


def test_a_removed_label_is_gone_when_no_route_needs_it() -> None:
    assert effective(None, 1, {1}, needed=False) is None


def test_a_label_of_a_model_that_is_gone_outlives_it_for_the_routes_that_need_it() -> None:
    labels = effective_labels({}, {"price": {"champion": 1, "old": 2}}, {"price": {"champion"}}, lambda key: True)
    assert labels == {"price": {"champion": 1}}


def test_a_number_stands_for_itself_and_an_unknown_label_for_nothing() -> None:
    assert resolve("price", 7, {}) == VersionKey("price", 7)
    assert resolve("price", "champion", {"price": {"champion": 3}}) == VersionKey("price", 3)
    assert resolve("price", "nolabel", {"price": {}}) is None
