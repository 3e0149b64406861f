"""Arms that got what their weights promise are believed; others are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from turnout_server.statistics.srm import MISMATCH, Assigned, e_value, fixed, sequential

weights = st.lists(st.floats(0.01, 100), min_size=2, max_size=5)


@given(weights, st.data())
def test_one_epoch_is_pearson_s_test(by_arm: list[float], data: st.DataObject) -> None:
    units = [data.draw(st.integers(1, 10_000)) for _ in by_arm]
    expected = np.array(by_arm) / sum(by_arm) * sum(units)
    wanted = stats.chisquare(units, expected).pvalue
    assert fixed([Assigned(tuple(units), tuple(by_arm))]) == pytest.approx(wanted, rel=1e-6, abs=1e-300)


def test_epochs_of_other_weights_are_tested_by_their_sums() -> None:
    """Over many experiments whose weights move, p-values are uniform."""
    rng = np.random.default_rng(13)
    plan = ((3000, (0.9, 0.05, 0.05)), (2000, (0.4, 0.4, 0.2)), (1000, (0.5, 0.5, 0.0)))
    p_values = [
        fixed([Assigned(tuple(map(int, rng.multinomial(n, shares))), shares) for n, shares in plan])
        for _ in range(1000)
    ]
    assert stats.kstest(p_values, "uniform").pvalue > 0.001


def test_a_small_leak_in_every_epoch_is_found_in_their_sum() -> None:
    leaking = Assigned((5150, 4850), (1.0, 1.0))
    for test in (fixed, sequential):
        assert test([leaking]) > MISMATCH
        assert test([leaking] * 5) < MISMATCH


def test_leaks_in_opposite_directions_are_found_by_epoch() -> None:
    epochs = [Assigned((5300, 4700), (1.0, 1.0)), Assigned((4700, 5300), (1.0, 1.0))]
    assert fixed(epochs) == 1
    assert all(fixed([epoch]) < MISMATCH and sequential([epoch]) < MISMATCH for epoch in epochs)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.98, 0.02), (0.6, 0.3, 0.1)])
def test_looking_after_every_batch_raises_few_false_alarms(shares: tuple[float, ...]) -> None:
    rng = np.random.default_rng(14)
    alarms = 0
    for _ in range(200):
        units = np.cumsum(rng.multinomial(100, shares, size=60), axis=0)
        alarms += any(sequential([Assigned(tuple(map(int, row)), shares)]) < 0.05 for row in units)
    assert alarms / 200 <= 0.05


@given(st.integers(0, 60), st.floats(0.02, 0.98))
def test_the_e_value_is_1_on_average_over_what_may_come(total: int, share: float) -> None:
    shares = (share, 1 - share)
    chances = stats.binom.pmf(range(total + 1), total, share)
    # The p-value is the inverse of the e-value only where that is above 1, so it bounds the average from both sides.
    inverse = [1 / sequential([Assigned((x, total - x), shares)]) for x in range(total + 1)]
    assert 1 - 1e-9 <= float(np.dot(chances, inverse)) <= 2
    for level in (0.5, 0.1, 0.01):
        assert float(chances[np.array(inverse) >= 1 / level].sum()) <= level


def test_units_where_none_may_be_are_impossible() -> None:
    for test in (fixed, sequential):
        assert test([Assigned((10, 1), (1.0, 0.0))]) == 0
        assert test([Assigned((10, 0), (1.0, 0.0))]) == 1
        assert test([Assigned((0, 0), (1.0, 1.0))]) == 1


def test_only_the_ratios_of_the_weights_count() -> None:
    for test in (fixed, sequential):
        assert test([Assigned((60, 40), (1.0, 1.0))]) == pytest.approx(test([Assigned((60, 40), (7.0, 7.0))]))


@pytest.mark.parametrize(
    ("units", "by_arm"),
    [((1,), (1.0, 1.0)), ((1, -1), (1.0, 1.0)), ((1, 1), (1.0, -1.0)), ((1, 1), (0.0, 0.0)), ((1, 1), (math.inf, 1.0))],
)
def test_what_cannot_be_is_refused(units: tuple[int, ...], by_arm: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="by weights"):
        Assigned(units, by_arm)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0.02, 0.98))
def test_the_sequential_p_value_is_1_over_the_e_value(one: int, other: int, share: float) -> None:
    epochs = [Assigned((one, other), (share, 1 - share))]
    assert sequential(epochs) == pytest.approx(min(1 / e_value(epochs), 1.0), rel=1e-9, abs=1e-300)


def test_an_e_value_is_finite_however_gross_the_mismatch() -> None:
    for epoch in (Assigned((10**6, 0), (1.0, 1.0)), Assigned((1, 1), (1.0, 0.0))):
        assert 1e300 < e_value([epoch]) < math.inf
