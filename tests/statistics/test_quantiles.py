"""Ranks hold a quantile as often as they say, whatever the distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from turnout_server.statistics.quantiles import Quantile, difference, ranks

alphas = st.sampled_from([0.1, 0.05, 0.01])
quantiles = st.one_of(st.sampled_from([0.5, 0.9, 0.95, 0.99]), st.floats(0.01, 0.99))


@given(st.integers(1, 5000), quantiles, alphas)
def test_each_end_errs_with_at_most_half_of_alpha_and_is_the_innermost_that_does(
    n: int, quantile: float, alpha: float
) -> None:
    low, _, high = ranks(n, quantile, alpha)
    below = stats.binom(n, quantile)
    limit = alpha / 2 * (1 + 1e-9)
    assert below.cdf(low - 1) <= limit < below.cdf(low) * (1 + 2e-9)
    assert below.sf(high - 1) <= limit
    assert below.sf(high - 2) >= alpha / 2 * (1 - 1e-9)


@given(st.integers(1, 5000), quantiles, alphas)
def test_ranks_are_in_order(n: int, quantile: float, alpha: float) -> None:
    low, point, high = ranks(n, quantile, alpha)
    assert 0 <= low <= point <= high <= n + 1
    assert 1 <= point <= n


def test_rounding_moves_no_rank() -> None:
    assert [ranks(100, percent / 100, 0.05).point for percent in range(1, 100)] == list(range(1, 100))


def test_a_small_sample_has_no_upper_end_for_a_high_quantile() -> None:
    assert ranks(100, 0.99, 0.05).high == 101
    assert ranks(1, 0.5, 0.05) == (0, 1, 2)


def test_the_median_of_ten_lies_between_the_second_and_the_ninth() -> None:
    """As in every table of the sign test: with 97.9 %."""
    assert ranks(10, 0.5, 0.05) == (2, 5, 9)


@pytest.mark.parametrize("quantile", [0.5, 0.95])
def test_a_difference_is_covered_as_often_as_it_says(quantile: float) -> None:
    rng = np.random.default_rng(15)
    truth = math.exp(stats.norm.ppf(quantile)) * 0.3
    covered = 0
    for _ in range(1000):
        arms = [np.sort(scale * rng.lognormal(0, 1, n)) for scale, n in ((1.0, 900), (1.3, 300))]
        found = difference(*(quantile_of(arm, quantile) for arm in arms))
        covered += found.low <= truth <= found.high
    assert covered >= 940


def quantile_of(ascending: np.ndarray, quantile: float) -> Quantile:
    places = ranks(len(ascending), quantile, 0.05)
    padded = np.concatenate([[-math.inf], ascending, [math.inf]])
    return Quantile(*(float(padded[place]) for place in places))


def test_an_end_that_is_not_there_leaves_the_difference_open() -> None:
    found = difference(Quantile(1.0, 2.0, math.inf), Quantile(2.0, 4.0, 5.0))
    assert found.low == -math.inf
    assert found.high == pytest.approx(2 + math.sqrt(2))
