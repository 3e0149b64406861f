"""The pure parts of the price pipeline."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import price
from pipelines.price import Diamonds


def table(rows: int) -> Diamonds:
    """Return diamonds that differ in every column."""
    numbers = {name: np.arange(rows, dtype=np.float32) for name in price.NUMBERS}
    words = {name: np.array([order[row % len(order)] for row in range(rows)]) for name, order in price.ORDERS.items()}
    return Diamonds(numbers | words, np.arange(rows, dtype=np.float64))


def test_categories_count_from_the_worst_and_unknown_ones_are_missing() -> None:
    found = price.ordinal(np.array(["Ideal", "Fair", "Shiny"]), price.ORDERS["cut"])
    assert found[:2].tolist() == [4.0, 0.0]
    assert np.isnan(found[2])


def test_the_split_loses_and_shares_no_row() -> None:
    parts = price.split(table(1000))
    assert [len(part.price) for part in parts] == [700, 100, 200]
    assert sorted(np.concatenate([part.price for part in parts])) == list(range(1000))
    assert price.split(table(1000))[2].price.tolist() == parts[2].price.tolist()


def test_matrix_and_feed_have_the_columns_in_order() -> None:
    some = table(3)
    assert some.matrix().tolist()[2] == [2.0] * len(price.FEATURES)
    feed = some.feed()
    assert list(feed) == list(price.FEATURES)
    assert {values.shape for values in feed.values()} == {(3, 1)}


@given(
    misses=st.lists(st.floats(-10, 10), min_size=1, max_size=60, unique=True),
    level=st.floats(0.05, 0.95),
)
def test_the_margin_holds_what_calibration_promises(misses: list[float], level: float) -> None:
    """As many of the n calibration rows as (n + 1) * level asks for lie inside, and a smaller margin holds fewer."""
    margin = price.conformal_margin(np.array(misses), level)
    needed = (len(misses) + 1) * level
    if needed > len(misses):
        assert margin == float("inf")
    else:
        assert sum(miss <= margin for miss in misses) >= needed
        assert sum(miss < margin for miss in misses) < needed


def test_requests_are_plain_json_with_their_truth() -> None:
    made = price.requests(table(5), 2)
    assert json.loads(json.dumps(made)) == made
    assert [request["unit"] for request in made] == ["shopper-0", "shopper-1"]
    assert made[1]["outcome"] == 1.0
    assert made[1]["features"]["cut"] == "Good"
    assert set(made[1]["features"]) == set(price.FEATURES)


@pytest.mark.parametrize("name", price.ORDERS)
def test_no_category_is_listed_twice(name: str) -> None:
    assert len(set(price.ORDERS[name])) == len(price.ORDERS[name])
