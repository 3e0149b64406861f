"""Sizes are those of statsmodels 0.15.0 for one look, and enough for many; what is planned is what is found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.experiments import peeking
from benchmarks.experiments.peeking import proportion
from turnout_server.statistics.power import (
    Plan,
    days,
    detectable,
    detectable_change,
    detectable_proportion,
    of_numbers,
    of_proportion,
    units,
    units_for_change,
    units_for_proportion,
)
from turnout_server.statistics.sequential import Horizon, reach

plans = st.builds(
    Plan,
    share=st.floats(0.02, 0.98),
    alpha=st.sampled_from([0.05, 0.01]),
    power=st.sampled_from([0.8, 0.95]),
    always_valid=st.booleans(),
)


@pytest.mark.parametrize(
    ("share", "wanted"), [(0.5, 12558.176814921919), (0.1, 34883.824486189704), (0.9, 34883.824465069956)]
)
def test_sizes_are_as_statsmodels_has_them(share: float, wanted: float) -> None:
    """`NormalIndPower().solve_power(effect_size=0.05, alpha=0.05, power=0.8, ratio=share / (1 - share))`, both arms."""
    assert units(Plan(share, 0.05, 0.8, always_valid=False), 0.05, 1.0, 1.0) == math.ceil(wanted)


@pytest.mark.parametrize(
    ("share", "wanted"), [(0.5, 0.0771498317199839), (0.1, 0.12857935912694135), (0.9, 0.12857935912694138)]
)
def test_detectable_effects_are_as_statsmodels_has_them(share: float, wanted: float) -> None:
    """`NormalIndPower().solve_power(nobs1=10000 * (1 - share), alpha=0.01, power=0.9, ratio=share / (1 - share))`."""
    # Its solver stops some 3e-5 away.
    assert detectable(Plan(share, 0.01, 0.9, always_valid=False), 10_000, 1.0, 1.0) == pytest.approx(wanted, rel=1e-4)


def test_sizes_for_proportions_are_about_as_statsmodels_has_them() -> None:
    """Its `power_proportions_2indep(0.02, 0.10)` reaches 80 % at 7,681.7 units, with the arms' variances pooled."""
    assert units_for_proportion(Plan(0.5, 0.05, 0.8, always_valid=False), 0.10, 0.12) == pytest.approx(7681.7, rel=1e-3)


@given(plans, st.floats(0.01, 10), st.floats(0.1, 10), st.floats(0.1, 10))
def test_what_a_size_is_for_is_what_it_detects(plan: Plan, effect: float, control: float, treatment: float) -> None:
    planned = units(plan, effect, control, treatment)
    assert detectable(plan, planned, control, treatment) <= effect * (1 + 1e-12)
    assert detectable(plan, planned - 1, control, treatment) > effect * (1 - 1e-12) if planned > 1 else True


@given(plans, st.floats(0.001, 0.9), st.floats(1.01, 3))
def test_what_a_size_is_for_is_the_proportion_that_it_detects(plan: Plan, control: float, factor: float) -> None:
    treatment = min(control * factor, 0.99)
    planned = units_for_proportion(plan, control, treatment)
    assert detectable_proportion(plan, planned, control) <= treatment * (1 + 1e-9)


def test_too_few_units_detect_no_proportion() -> None:
    assert detectable_proportion(Plan(0.5, 0.05, 0.8), 4, 0.5) == 1


def test_looking_at_any_time_takes_less_than_twice_the_units() -> None:
    fixed, always = (units(Plan(0.5, 0.05, 0.8, always_valid=how), 0.01, 1.0, 1.0) for how in (False, True))
    assert always / fixed == pytest.approx(1.915, abs=0.01)


@given(plans, st.floats(0.1, 10))
def test_equal_arms_of_equal_variance_need_the_fewest_units(plan: Plan, variance: float) -> None:
    half = Plan(0.5, plan.alpha, plan.power, plan.always_valid)
    assert units(half, 0.1, variance, variance) <= units(plan, 0.1, variance, variance)


def test_a_plan_counts_on_the_caution_of_looking_at_any_time() -> None:
    careful, once = (Plan(0.1, 0.05, 0.8, always_valid=how) for how in (True, False))
    assert careful.spread(4.0, 1.0) == pytest.approx(careful.spread(4.0, 4.0))
    assert once.spread(4.0, 1.0) == pytest.approx(4 / 0.9 + 1 / 0.1)
    assert Plan(0.9, 0.05, 0.8).spread(1.0, 4.0) == pytest.approx(4 / 0.1 + 4 / 0.9)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_the_planned_power_is_reached_by_who_looks_at_any_time(share: float) -> None:
    plan = Plan(share, 0.05, 0.8)
    planned = units_for_proportion(plan, 0.10, 0.12)
    rng = np.random.default_rng(16)
    simulated = peeking.epochs(rng, [(share, 50)], math.ceil(planned / 50), 1000, (proportion(0.10), proportion(0.12)))
    seen = peeking.look(simulated)
    horizon = Horizon(planned, plan.alpha)
    found = np.array([reach(each, horizon) for each in seen.units[0]]) * seen.se < np.abs(seen.value)
    assert found[:, -1].mean() >= 0.77
    assert 0.8 <= found.any(axis=1).mean() <= 0.92


def test_an_experiment_lasts_until_the_last_window_has_closed() -> None:
    assert days(10_000, 1_000, 7) == 17
    assert days(10_001, 1_000, 0.5) == 11
    assert days(10_001, 1_000, 7) == 18


@pytest.mark.parametrize("impossible", [(0.0, 0.05, 0.8), (0.5, 1.0, 0.8), (0.5, 0.05, 0.0), (0.5, 0.05, math.nan)])
def test_what_cannot_be_is_refused(impossible: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Plan(*impossible)


def test_a_change_of_a_proportion_takes_what_its_two_variances_take() -> None:
    plan = Plan(0.5, 0.05, 0.8, always_valid=False)
    assert units_for_change(plan, 0.1, 0.09, 0.2, of_proportion(0.1)) == units_for_proportion(plan, 0.1, 0.12)
    # A large one varies more if it falls.
    assert units_for_change(plan, 0.9, 0.09, 0.05, of_proportion(0.9)) == units(plan, 0.045, 0.09, 0.855 * 0.145)


def test_numbers_that_are_larger_vary_more() -> None:
    plan = Plan(0.1, 0.05, 0.8)
    assert units_for_change(plan, -2.0, 5.0, 0.5, of_numbers) == units(plan, 1.0, 5.0, 5.0 * 1.5**2)


@given(plans, st.floats(0.01, 5), st.floats(0.1, 10), st.floats(0.1, 50))
def test_what_a_size_for_a_change_is_for_is_what_it_detects(
    plan: Plan, part: float, mean: float, variance: float
) -> None:
    planned = units_for_change(plan, mean, variance, part, of_numbers)
    found = detectable_change(plan, planned, mean, variance, of_numbers)
    assert found is not None
    assert found <= part * (1 + 1e-9)


def test_what_varies_as_it_grows_is_not_found_however_large() -> None:
    plan = Plan(0.02, 0.05, 0.8)
    assert detectable_change(plan, 1000, 1.0, 100.0, of_numbers) is None
    assert detectable(plan, 1000, 100.0, 100.0) < math.inf


@pytest.mark.parametrize(("sigma", "share"), [(1.5, 0.1), (1.0, 0.02)])
def test_a_planned_change_of_revenue_is_found_as_often_as_was_planned(sigma: float, share: float) -> None:
    """At the end, by one look: lognormal numbers of which the treatment's are larger, many times."""
    plan = Plan(share, 0.05, 0.8, always_valid=False)
    mean, variance = math.exp(sigma**2 / 2), (math.exp(sigma**2) - 1) * math.exp(sigma**2)
    total = 200_000
    part = detectable_change(plan, total, mean, variance, of_numbers)
    assert part is not None
    rng = np.random.default_rng(17)
    found = 0
    for _ in range(200):
        control = rng.lognormal(0, sigma, round(total * (1 - share)))
        treatment = (1 + part) * rng.lognormal(0, sigma, round(total * share))
        error = math.sqrt(control.var() / control.size + treatment.var() / treatment.size)
        found += treatment.mean() - control.mean() > 1.96 * error
    assert 0.72 <= found / 200 <= 0.88
