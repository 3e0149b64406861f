"""Fixed-horizon intervals and p-values are SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.statistics.sample import compared, summed
from turnout_server.statistics.effect import Contrast, Effect
from turnout_server.statistics.estimate import mean_of
from turnout_server.statistics.interval import Silence, absolute
from turnout_server.statistics.moments import Moments
from turnout_server.statistics.welch import EXPECTED, look, p_value, reach


@given(st.integers(0, 10**6), st.integers(2, 50), st.integers(2, 50), st.sampled_from([0.1, 0.05, 0.001]))
def test_p_value_and_interval_are_those_of_scipy_on_the_units_themselves(
    seed: int, control: int, treatment: int, alpha: float
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.lognormal(0, 1, control), rng.lognormal(0.3, 1.5, treatment)
    effect = compared(mean_of(summed(x)), mean_of(summed(y)))
    wanted = stats.ttest_ind(y, x, equal_var=False)
    assert p_value(effect) == pytest.approx(wanted.pvalue, rel=1e-6, abs=1e-12)
    found = absolute(effect, reach(effect, alpha))
    assert found == pytest.approx(tuple(wanted.confidence_interval(1 - alpha)), rel=1e-6, abs=1e-9)


def test_an_interval_leaves_0_out_exactly_when_the_p_value_is_below_alpha() -> None:
    effect = compared(mean_of(Moments(400, 40.0, 40.0)), mean_of(Moments(300, 50.0, 50.0)))
    alpha = p_value(effect)
    assert absolute(effect, reach(effect, alpha)).low == pytest.approx(0, abs=1e-12)


def test_units_that_never_differ_prove_nothing() -> None:
    assert p_value(compared(mean_of(Moments(5, 5.0, 5.0)), mean_of(Moments(5, 0.0, 0.0)))) == 1


def zeros_and_ones(n: int, ones: int) -> Moments:
    return Moments(n, float(ones), float(ones))


@pytest.mark.parametrize(
    ("control", "treatment", "expected"),
    [
        (zeros_and_ones(9_900, 500), zeros_and_ones(100, 0), 5.0),
        (zeros_and_ones(100, 2), zeros_and_ones(9_900, 900), 9.0),
        (zeros_and_ones(900, 880), zeros_and_ones(100, 100), 2.0),
        (Moments(9_900, 1_000.0, 2_000.0), Moments(100, 0.0, 0.0), 5.0),
    ],
)
def test_an_arm_that_cannot_expect_events_says_nothing_by_having_none(
    control: Moments, treatment: Moments, expected: float
) -> None:
    found = look([Contrast("e", mean_of(control), mean_of(treatment))])
    assert found == Silence(f"an arm may expect {expected} events; {EXPECTED} are needed")


@pytest.mark.parametrize(
    ("control", "treatment"),
    [
        (zeros_and_ones(1_000, 0), zeros_and_ones(1_000, 50)),
        (zeros_and_ones(100, 10), zeros_and_ones(100, 12)),
        (Moments(1_000, 0.0, 0.0), Moments(1_000, 60.0, 90.0)),
        (Moments(20, 1.0, 20.0), Moments(20, -2.0, 25.0)),
    ],
)
def test_what_could_be_expected_is_said_even_if_an_arm_has_nothing_of_it(control: Moments, treatment: Moments) -> None:
    assert isinstance(look([Contrast("e", mean_of(control), mean_of(treatment))]), Effect)


def test_epochs_expect_together_and_one_without_an_arm_expects_nothing() -> None:
    arms = mean_of(zeros_and_ones(900, 60)), mean_of(zeros_and_ones(100, 0))
    assert isinstance(look([Contrast("e", *arms)]), Silence)
    assert isinstance(look([Contrast("e", *arms), Contrast("f", *arms)]), Effect)
    assert isinstance(look([Contrast("e", *arms), Contrast("f", arms[0], None)]), Silence)
    assert look([Contrast("e", arms[0], None)]) == Silence("no epoch has two units of each arm")


@pytest.mark.parametrize("expected", [2, 10, 20])
def test_a_small_arm_of_few_events_raises_few_false_alarms(expected: int) -> None:
    rng, runs = np.random.default_rng(12), 2_000
    alarms = 0
    for ones in zip(*(rng.binomial(n, expected / 2_000, runs) for n in (98_000, 2_000)), strict=True):
        estimates = (mean_of(zeros_and_ones(n, int(each))) for n, each in zip((98_000, 2_000), ones, strict=True))
        found = look([Contrast("e", *estimates)])
        alarms += isinstance(found, Effect) and p_value(found) < 0.05
    assert alarms / runs < 0.075
