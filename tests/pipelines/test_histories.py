"""Splitting purchases into histories and what came after."""

from __future__ import annotations

import numpy as np

from pipelines.histories import padded, places_from_end, split
from pipelines.sources import Purchases


def purchases(*lines: tuple[int, int, int]) -> Purchases:
    """Return purchases of (day, customer, product) lines."""
    day, customer, product = np.array(lines, dtype=np.int64).T
    ones = np.ones(len(lines), dtype=np.int64)
    return Purchases(day=day, customer=customer, subclass=ones, product=product, amount=ones, sales=ones.astype(float))


def test_a_history_is_in_order_of_days_and_keeps_a_days_own_order() -> None:
    train, _ = split(purchases((3, 7, 20), (1, 7, 30), (1, 7, 10)), day=9, fewest_buyers=1, fewest_items=1)
    assert train.items[train.of(0)].tolist() == [30, 10, 20]


def test_the_day_of_the_split_is_held_out() -> None:
    train, test = split(purchases((1, 7, 10), (2, 7, 10)), day=2, fewest_buyers=1, fewest_items=1)
    assert train.day.tolist() == [1]
    assert test.day.tolist() == [2]


def test_nothing_from_the_end_on_is_on_either_side() -> None:
    lines = purchases((1, 7, 10), (2, 7, 10), (3, 7, 10), (4, 7, 10))
    train, test = split(lines, day=2, end=4, fewest_buyers=1, fewest_items=1)
    assert train.day.tolist() == [1]
    assert test.day.tolist() == [2, 3]


def test_what_is_held_out_does_not_decide_who_counts() -> None:
    """Item 20 and customer 8 have enough only with the held-out day; both stay out on both sides."""
    lines = [(1, 7, 10), (1, 6, 10), (1, 7, 20), (2, 6, 20), (2, 8, 10), (2, 6, 10)]
    train, test = split(purchases(*lines), day=2, fewest_buyers=2, fewest_items=1)
    assert train.items.tolist() == [10]
    assert train.customers.tolist() == [6, 7]
    assert test.customers[test.customer].tolist() == [6]


def test_every_customer_has_lines_of_their_own() -> None:
    train, _ = split(purchases((1, 8, 10), (1, 7, 20), (2, 8, 20)), day=9, fewest_buyers=1, fewest_items=1)
    assert [train.items[train.of(who)].tolist() for who in range(2)] == [[20], [10, 20]]
    assert train.places_from_end.tolist() == [0, 1, 0]


def test_rows_are_padded_at_their_ends() -> None:
    assert padded([np.array([1, 2]), np.array([], dtype=np.int64)], -1).tolist() == [[1, 2], [-1, -1]]
    assert padded([np.array([], dtype=np.int64)], -1).shape == (1, 0)


def test_only_known_entries_count_as_later_ones() -> None:
    known = np.array([[True, False, True, True, False]])
    assert places_from_end(known)[known].tolist() == [2, 1, 0]
