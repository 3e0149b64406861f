"""Features know the past and nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.choices import FEATURES, NEVER, History, Queries, queries
from pipelines.sources import Purchases

DAYS = 12


def purchases(*lines: tuple[int, int, int, int, float]) -> Purchases:
    """Return lines of (day, customer, product, amount, sales); products below 100 are of subclass 1, others of 2."""
    columns = list(zip(*sorted(lines, key=lambda line: line[0]), strict=True))
    product = np.array(columns[2], dtype=np.int64)
    return Purchases(
        day=np.array(columns[0], dtype=np.int64),
        customer=np.array(columns[1], dtype=np.int64),
        subclass=np.where(product < 100, 1, 2),
        product=product,
        amount=np.array(columns[3], dtype=np.int64),
        sales=np.array(columns[4], dtype=np.float64),
    )


def asking(customer: int, day: int, products: list[int]) -> Queries:
    """Return one query in subclass 1."""
    return Queries(
        customer=np.array([customer]),
        day=np.array([day]),
        subclass=np.array([1]),
        group=np.zeros(len(products), dtype=np.int64),
        product=np.array(products),
        bought=np.zeros(len(products), dtype=bool),
    )


def features(lines: Purchases, asked: Queries) -> dict[str, list[float]]:
    """Return the feature columns by name."""
    matrix = History(lines).features(asked)
    assert matrix.dtype == np.float32
    return {name: matrix[:, place].tolist() for place, name in enumerate(FEATURES)}


LINES = purchases(
    (0, 1, 10, 1, 20.0),
    (2, 1, 10, 2, 40.0),
    (3, 1, 11, 1, 10.0),
    (4, 2, 11, 1, 10.0),
    (4, 3, 10, 1, 10.0),
    (9, 1, 10, 1, 99.0),
    (9, 9, 12, 1, 50.0),
)


def test_own_purchases_are_counted_by_day_and_product() -> None:
    found = features(LINES, asking(1, 5, [10, 11, 12]))
    assert found["own_purchases"] == [2, 1, 0]
    assert found["own_days_since"] == [3, 2, NEVER]
    assert found["own_subclass_purchases"] == [3, 3, 3]
    assert found["own_subclass_days_since"] == [2, 2, 2]
    assert found["own_share"] == pytest.approx([2 / 3, 1 / 3, 0])


def test_sales_are_counted_over_windows_that_end_yesterday() -> None:
    found = features(LINES, asking(7, 5, [10, 11, 12]))
    assert found["share_1d"] == [0.5, 0.5, 0]
    assert found["sold_28d"] == [3, 2, 0]
    assert found["relative_sales"] == pytest.approx([1, 2 / 3, 0])


def test_a_price_is_that_of_the_last_day_it_sold() -> None:
    found = features(LINES, asking(1, 5, [10, 11]))
    assert found["discount"] == pytest.approx([10 / 17.5, 1.0])
    assert found["relative_price"] == pytest.approx([1.0, 1.0])
    assert found["own_relative_price"] == pytest.approx([10 / 17.5, 10 / 17.5])


@pytest.mark.parametrize("shopper", [0, 4, 9, 10])
def test_a_shopper_without_a_past_gets_the_defaults_known_or_not(shopper: int) -> None:
    found = features(LINES, asking(shopper, 5, [10, 12]))
    for name in ("own_subclass_purchases", "own_subclass_days_since", "own_purchases", "own_days_since", "own_share"):
        assert found[name] == [FEATURES[name]] * 2


@st.composite
def some_lines(draw: st.DrawFn) -> list[tuple[int, int, int, int, float]]:
    line = st.tuples(
        st.integers(0, DAYS - 1),
        st.integers(1, 3),
        st.sampled_from([10, 11, 12, 100, 101]),
        st.integers(1, 3),
        st.integers(1, 9).map(float),
    )
    every = [(day, 1, product, 1, 1.0) for day in (0, DAYS - 1) for product in (10, 11, 12)]
    return every + draw(st.lists(line, max_size=25))


@settings(deadline=None)
@given(lines=some_lines(), customer=st.integers(1, 3), day=st.integers(0, DAYS - 1))
def test_what_happens_on_the_day_or_later_changes_no_feature(
    lines: list[tuple[int, int, int, int, float]], customer: int, day: int
) -> None:
    asked = asking(customer, day, [10, 11, 12])
    past = [line for line in lines if line[0] < day]
    later = [(DAYS - 1, 9, product, 1, 77.0) for product in (10, 11, 12)]
    assert features(purchases(*lines), asked) == features(purchases(*past, *later), asked)


@settings(deadline=None)
@given(lines=some_lines(), first=st.integers(1, DAYS - 1))
def test_candidates_are_what_sold_most_before_the_period(
    lines: list[tuple[int, int, int, int, float]], first: int
) -> None:
    found = queries(purchases(*lines), first, DAYS, widest=2, fewest=1)
    sold: dict[int, int] = {}
    for day, _, product, _, _ in lines:
        if day < first:
            sold[product] = sold.get(product, 0) + 1
    for query, subclass in enumerate(found.subclass):
        mine = [product for product in sold if (product < 100) == (subclass == 1)]
        best = sorted(mine, key=lambda product: (-sold[product], product))[:2]
        assert found.product[found.group == query].tolist() == best


@settings(deadline=None)
@given(lines=some_lines(), first=st.integers(1, DAYS - 1))
def test_what_was_bought_is_marked(lines: list[tuple[int, int, int, int, float]], first: int) -> None:
    found = queries(purchases(*lines), first, DAYS, fewest=1)
    real = {(customer, day, product) for day, customer, product, _, _ in lines}
    for group, product, bought in zip(found.group, found.product, found.bought, strict=True):
        assert bought == ((found.customer[group], found.day[group], product) in real)
    assert set(found.group[found.bought]) == set(range(len(found.customer)))


def test_queries_with_few_candidates_are_left_out() -> None:
    assert len(queries(LINES, 5, DAYS, fewest=2).customer) == 1
    assert len(queries(LINES, 5, DAYS, fewest=3).customer) == 0


def test_selected_queries_keep_their_rows() -> None:
    every = queries(LINES, 3, 10, fewest=1)
    chosen = np.array([1])
    some = every.select(chosen)
    for new, old in enumerate(chosen):
        for field in ("product", "bought"):
            before: Any = getattr(every, field)[every.group == old]
            assert getattr(some, field)[some.group == new].tolist() == before.tolist()
    assert dataclasses.asdict(every.select(np.arange(len(every.customer))))["group"].tolist() == every.group.tolist()
