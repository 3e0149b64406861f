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


def effect_of(
    control: float,
    treatment: float,
    variances: tuple[float, float] = (1.0, 1.0),
    borrowed: tuple[float, float] = (0.0, 0.0),
) -> Effect:
    sides = [
        Side(value, variance, 0.0, 100.0, lent)
        for value, variance, lent in zip((control, treatment), variances, borrowed, strict=True)
    ]
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


small_arms = st.sampled_from([(0.0, 1.0), (1.0, 0.0)])
"""What of its variance each arm has borrowed."""


@given(sizes, st.floats(-50, 50), sizes, sizes, st.floats(0.5, 5), small_arms, st.floats(0.1, 1), st.floats(1, 20))
def test_an_interval_leaves_out_only_what_the_spread_that_it_implies_does_not_explain(
    control: float,
    treatment: float,
    one: float,
    two: float,
    reach: float,
    smaller: tuple[float, float],
    part: float,
    times: float,
) -> None:
    """What is borrowed is the smaller arm's, and grows as the square of how many times the other's its numbers are."""
    plain = effect_of(control, treatment, (one, two))
    borrowed = (part * smaller[0] * one, part * smaller[1] * two)
    effect = effect_of(control, treatment, (one, two), borrowed)
    before, found = (absolute(each, reach) for each in (plain, effect))
    assert found.low <= before.low
    assert found.high >= before.high
    assert (found.low < 0 < found.high) == (before.low < 0 < before.high)
    value, spread, lent = (treatment, two, borrowed[0]) if smaller[0] else (control, one, borrowed[1])
    denied = before.low > 0 if smaller[0] else before.high < 0
    far = (1 - times) * value if smaller[0] else (times - 1) * value
    assert (found.high == before.high) if smaller[0] else (found.low == before.low)
    excess = abs(treatment - control - far) - reach * math.sqrt(spread + times**2 * lent)
    if denied or value < reach * math.sqrt(spread) * (1 - 1e-9):
        assert found == before
    elif value > reach * math.sqrt(spread) * (1 + 1e-9) and abs(excess) > 1e-6 and abs(far) > abs(treatment - control):
        is_in = found.low <= far <= found.high
        assert is_in if excess < 0 else not is_in or before.low <= far <= before.high or before.low <= 0 <= before.high
    plain_ratio, ratio = (relative(each, reach) for each in (plain, effect))
    if isinstance(plain_ratio, Interval) and isinstance(ratio, Interval):
        assert ratio.low <= plain_ratio.low
        assert ratio.high >= plain_ratio.high
        assert (ratio.high == plain_ratio.high) if smaller[0] else (ratio.low == plain_ratio.low)
        assert (ratio.low < 0 < ratio.high) == (plain_ratio.low < 0 < plain_ratio.high)
        as_many = 1 / times if smaller[0] else times
        is_farther = abs(math.log(as_many)) > abs(math.log(max(treatment / control, 1e-9)))
        allowed = reach * math.sqrt((borrowed[0] + two) if smaller[0] else as_many**2 * (one + borrowed[1]))
        if not denied and is_farther and abs(treatment - as_many * control) < allowed * (1 - 1e-6):
            assert ratio.low - 1e-9 <= as_many - 1 <= ratio.high + 1e-9


def test_what_borrows_more_than_the_other_arm_is_sure_of_has_no_far_end() -> None:
    effect = effect_of(10.0, 15.0, (0.1, 20.0), (0.0, 20.0))
    assert absolute(effect, 3.0).high == relative(effect, 3.0).high == math.inf
    assert absolute(effect, 3.0).low > -math.inf


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
