"""Absolute and relative intervals agree on whether there is an effect."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.statistics.sample import compared, summed
from turnout_server.statistics.effect import Effect, Side
from turnout_server.statistics.estimate import mean_of
from turnout_server.statistics.interval import Interval, Silence, absolute, relative


def effect_of(control: float, treatment: float, variances: tuple[float, float] = (1.0, 1.0)) -> Effect:
    sides = [Side(value, variance, 0.0, 100.0) for value, variance in zip((control, treatment), variances, strict=True)]
    return Effect(*sides, units=100, left_out=())


sizes = st.floats(0.1, 50)


@given(sizes, st.floats(-50, 50), sizes, sizes, st.floats(0.5, 5))
def test_the_ends_of_a_relative_interval_are_exactly_within_reach(
    control: float, treatment: float, one: float, two: float, reach: float
) -> None:
    effect = effect_of(control, treatment, (one, two))
    found = relative(effect, reach)
    if isinstance(found, Silence):
        assert control <= reach * math.sqrt(one) * (1 + 1e-9)
        return
    for end in found:
        ratio = end + 1
        excess = abs(treatment - ratio * control) - reach * math.sqrt(two + ratio**2 * one)
        assert excess == pytest.approx(0, abs=1e-5 * (1 + abs(ratio)) * 50)
    assert found.low - 1e-9 <= treatment / control - 1 <= found.high + 1e-9


@given(sizes, sizes, sizes, sizes, st.floats(0.5, 5))
def test_relative_and_absolute_intervals_hold_no_effect_together(
    control: float, treatment: float, one: float, two: float, reach: float
) -> None:
    effect = effect_of(control, treatment, (one, two))
    both = absolute(effect, reach)
    ratio = relative(effect, reach)
    if isinstance(ratio, Interval) and min(map(abs, (*both, *ratio))) > 1e-6:
        assert (both.low < 0 < both.high) == (ratio.low < 0 < ratio.high)


def test_nothing_is_relative_to_what_may_be_0() -> None:
    assert isinstance(relative(effect_of(1.5, 4.0), 2.0), Silence)
    assert isinstance(relative(effect_of(-20.0, 4.0), 2.0), Silence)
    assert isinstance(relative(effect_of(20.0, 0.0), 2.0), Interval)


def test_nothing_is_said_of_arms_in_which_no_unit_differs() -> None:
    for interval in (absolute, relative):
        found = interval(effect_of(20.0, 10.0, (0.0, 0.0)), 2.0)
        assert found == Silence("no unit differs from another of its arm")


def test_a_relative_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(1000):
        effect = compared(mean_of(summed(rng.exponential(1.0, 400))), mean_of(summed(rng.exponential(1.3, 100))))
        found = relative(effect, 1.96)
        assert isinstance(found, Interval)
        covered += found.low <= 0.3 <= found.high
    assert covered >= 925
