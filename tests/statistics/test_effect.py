"""Effects are estimated within epochs and combined by units; what cannot be compared is left out and said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.statistics.sample import compared, summed
from turnout_server.statistics.effect import Contrast, effect
from turnout_server.statistics.estimate import mean_of
from turnout_server.statistics.moments import Moments


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(2, 40))
def test_degrees_of_freedom_are_welch_s(seed: int, control: int, treatment: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(1, 1, control), rng.normal(1, 3, treatment)
    found = compared(mean_of(summed(x)), mean_of(summed(y)))
    wanted = stats.ttest_ind(y, x, equal_var=False)
    assert found.df == pytest.approx(wanted.df, rel=1e-6)
    assert found.value / found.se == pytest.approx(wanted.statistic, rel=1e-6)


def test_a_ramp_is_no_effect() -> None:
    """Days differ, arms do not; the weights move from 90:10 to 50:50. Pooled, the treatment would seem worse."""
    days = [(Moments(9000, 4500.0, 4500.0), Moments(1000, 500.0, 500.0)), (Moments(5000, 2000.0, 2000.0),) * 2]
    found = effect(Contrast(str(day), mean_of(one), mean_of(two)) for day, (one, two) in enumerate(days))
    assert found is not None
    assert found.value == 0
    assert found.control.value == pytest.approx(0.45), "each day weighs as its units, for both arms alike"
    pooled = 2500 / 6000 - 6500 / 14000
    assert pooled == pytest.approx(-0.048, abs=0.001)


def test_the_variance_over_epochs_is_that_of_many_samples() -> None:
    rng = np.random.default_rng(9)
    sizes = ((180, 20), (100, 100))
    found = []
    for _ in range(2000):
        contrasts = [
            Contrast(str(day), *(mean_of(summed(rng.exponential(1 + day, size))) for size in both))
            for day, both in enumerate(sizes)
        ]
        found.append(effect(contrasts))
    values = [each.value for each in found if each is not None]
    assert np.mean(values) == pytest.approx(0, abs=4 * np.std(values) / math.sqrt(2000))
    assert np.var(values) == pytest.approx(np.mean([each.se**2 for each in found if each is not None]), rel=0.1)


def test_an_epoch_that_lacks_an_arm_is_left_out_and_named() -> None:
    one, two = mean_of(Moments(10, 5.0, 5.0)), mean_of(Moments(10, 6.0, 6.0))
    both = effect([Contrast("first", one, None), Contrast("second", one, two), Contrast("third", None, None)])
    assert both is not None
    assert both.left_out == ("first",)
    assert (both.units, both.value) == (20, compared(one, two).value)
    assert effect([Contrast("first", one, None)]) is None
    assert effect([]) is None


def test_events_are_of_the_arm_and_of_the_number_that_has_fewer() -> None:
    found = compared(mean_of(Moments(100, 30.0, 30.0)), mean_of(Moments(20, 18.0, 18.0)))
    assert found.events == pytest.approx(2)


def test_arms_without_spread_have_no_standard_error_and_no_bound_on_its_degrees() -> None:
    found = compared(mean_of(Moments(5, 5.0, 5.0)), mean_of(Moments(5, 0.0, 0.0)))
    assert (found.value, found.se, found.df) == (-1, 0, math.inf)


@given(st.permutations(range(4)))
def test_the_order_of_epochs_does_not_count(order: list[int]) -> None:
    contrasts = [
        Contrast(str(day), mean_of(Moments(90 + day, 7.0, 9.3)), mean_of(Moments(10 + day, 1.0 + day, 5.7)))
        for day in range(4)
    ]
    assert effect(contrasts[day] for day in order) == effect(contrasts)
