"""Sums add up exactly, and what no units could have is refused."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.statistics.moments import Moments, PairMoments, effective_events, merged, merged_pairs

values = st.lists(st.floats(-1e6, 1e6).filter(lambda x: not 0 < abs(x) < 1e-6), min_size=2, max_size=30)


def moments_of(x: list[float]) -> Moments:
    return Moments(len(x), math.fsum(x), math.fsum(each * each for each in x))


def pair_of(x: list[float], y: list[float]) -> PairMoments:
    return PairMoments(moments_of(x), moments_of(y), math.fsum(a * b for a, b in zip(x, y, strict=True)))


@given(values)
def test_what_units_have_is_never_refused(x: list[float]) -> None:
    moments = moments_of(x)
    assert moments.mean == pytest.approx(np.mean(x), abs=1e-9)
    assert moments.variance == pytest.approx(np.var(x, ddof=1), rel=1e-6, abs=1e-9 * moments.squares)


@given(values, values)
def test_a_pair_s_covariance_is_numpy_s(x: list[float], y: list[float]) -> None:
    size = min(len(x), len(y))
    pair = pair_of(x[:size], y[:size])
    scale = math.sqrt(pair.first.squares * pair.second.squares)
    assert pair.covariance == pytest.approx(np.cov(x[:size], y[:size])[0, 1], rel=1e-6, abs=1e-9 * scale)
    assert pair.n == size


@pytest.mark.parametrize(
    ("n", "total", "squares", "what"),
    [
        (-1, 0.0, 0.0, "-1 units"),
        (2, math.nan, 1.0, "not finite"),
        (2, 1.0, math.inf, "not finite"),
        (4, 10.0, 24.0, "too small"),
        (1, 0.0, -1.0, "too small"),
        (0, 1.0, 1.0, "too small"),
        (0, 0.0, 1.0, "of no units"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(n: int, total: float, squares: float, what: str) -> None:
    with pytest.raises(ValueError, match=f"^epoch e, arm a, metric clicks: .*{what}"):
        Moments(n, total, squares, place="epoch e, arm a, metric clicks")


@pytest.mark.parametrize(
    ("second", "products", "what"),
    [
        (Moments(3, 2.0, 2.0), 1.0, "2 and 3 units"),
        (Moments(2, 2.0, 2.0), math.nan, "not finite"),
        (Moments(2, 2.0, 2.0), 2.1, "too large"),
    ],
)
def test_a_pair_that_cannot_be_is_refused_with_its_place(second: Moments, products: float, what: str) -> None:
    with pytest.raises(ValueError, match=f"^here: .*{what}"):
        PairMoments(Moments(2, 2.0, 2.0, place="here"), second, products)


@given(st.lists(values, max_size=6), st.randoms())
def test_merging_knows_no_order(parts: list[list[float]], shuffler: random.Random) -> None:
    moments = [moments_of(part) for part in parts]
    pairs = [PairMoments(each, each, each.squares) for each in moments]
    whole, whole_pair = merged(moments), merged_pairs(pairs)
    shuffler.shuffle(moments)
    shuffler.shuffle(pairs)
    assert merged(moments) == whole
    assert merged_pairs(pairs) == whole_pair


def test_merging_loses_nothing_of_what_is_small() -> None:
    parts = [Moments(1, 1e9, 1e18), *(Moments(1, 1e-8, 1e-16) for _ in range(1000))]
    assert merged(parts).total == 1e9 + 1e-5


def test_equal_events_count_one_each() -> None:
    assert effective_events([moments_of([7.5] * 12 + [0.0] * 88)]) == pytest.approx(12)
    assert effective_events([moments_of([1000.0] + [1.0] * 20)]) < 1.1


def test_of_a_proportion_the_rarer_outcome_counts() -> None:
    assert effective_events([Moments(1000, 997.0, 997.0)]) == 3
    assert effective_events([Moments(1000, 3.0, 3.0)]) == 3
    assert effective_events([Moments(50, 50.0, 50.0)]) == 0, "without a failure, nobody knows how rare they are"


def test_fractions_whose_sums_happen_to_agree_are_no_proportion() -> None:
    assert effective_events([Moments(10, 10.000000005, 10.000000005)]) == pytest.approx(10)


def test_no_events_are_none() -> None:
    assert effective_events([Moments(5, 0.0, 0.0)]) == 0
    assert effective_events([Moments(0, 0.0, 0.0)]) == 0


def test_units_that_weigh_more_make_for_fewer_events() -> None:
    epochs = [moments_of([2.0] * 10), moments_of([2.0] * 10)]
    assert effective_events(epochs) == pytest.approx(20)
    assert effective_events(epochs, [3.0, 3.0]) == pytest.approx(20)
    assert effective_events(epochs, [9.0, 1.0]) == pytest.approx(100**2 / (10 * 81 + 10))
