"""Fixed-horizon intervals and p-values are SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.statistics.sample import compared, summed
from turnout_server.statistics.estimate import mean_of
from turnout_server.statistics.interval import absolute
from turnout_server.statistics.moments import Moments
from turnout_server.statistics.welch import p_value, reach


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
