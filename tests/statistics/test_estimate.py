"""Means, ratios and adjusted means are what tea-tasting 1.14.0 finds in the same sample (`sample.py`)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.statistics import sample
from tests.statistics.sample import summed
from turnout_server.statistics import interval, welch
from turnout_server.statistics.effect import Effect
from turnout_server.statistics.estimate import adjusted, mean_of, ratio_of
from turnout_server.statistics.moments import Moments, PairMoments


def is_as(effect: Effect, control: float, treatment: float, low: float, high: float, p_value: float) -> None:
    """Hold an effect to the numbers of tea-tasting, whose covariances differ by the share of one unit."""
    assert effect.control.value == pytest.approx(control, rel=1e-9)
    assert effect.treatment.value == pytest.approx(treatment, rel=1e-9)
    assert interval.absolute(effect, welch.reach(effect, 0.05)) == pytest.approx((low, high), rel=1e-9)
    assert welch.p_value(effect) == pytest.approx(p_value, rel=1e-8)


def test_means_are_as_tea_tasting_has_them() -> None:
    effect = sample.compared(*map(mean_of, sample.REVENUE))
    is_as(effect, 6.45197575, 6.944416999999994, 0.21690587159251717, 0.7679766284074716, 0.0004684584997543425)


def test_ratios_are_as_tea_tasting_has_them() -> None:
    effect = sample.compared(*map(ratio_of, sample.CLICKS_OF_VIEWS))
    is_as(
        effect,
        0.19990118577075103,
        0.22918318794607453,
        0.016619013644258152,
        0.041944990706388866,
        6.191881903562547e-06,
    )


def test_adjusted_means_are_as_tea_tasting_has_them() -> None:
    effect = sample.compared(*adjusted(sample.REVENUE_GIVEN_COVARIATE))
    is_as(
        effect,
        6.489571349691319,
        6.794034601234721,
        0.1567348231836064,
        0.4521916799031963,
        5.5345814832359815e-05,
    )


def test_a_proportion_is_a_mean() -> None:
    estimate = mean_of(Moments(200, 30.0, 30.0))
    assert estimate is not None
    assert (estimate.value, estimate.units) == (0.15, 200)
    assert estimate.variance == pytest.approx(0.15 * 0.85 / 199)
    assert estimate.spread == pytest.approx(0.15 * 0.85 * 200 / 199)


def test_a_ratio_s_variance_is_that_of_many_samples() -> None:
    rng = np.random.default_rng(5)
    views = 1 + rng.poisson(3, (4000, 300))
    clicks = rng.binomial(views, rng.beta(2, 8, views.shape))
    ratios = clicks.sum(axis=1) / views.sum(axis=1)
    estimate = ratio_of(PairMoments(summed(clicks[0]), summed(views[0]), float((clicks[0] * views[0]).sum())))
    assert estimate is not None
    assert estimate.value == pytest.approx(ratios[0])
    assert estimate.variance == pytest.approx(ratios.var(), rel=0.15)


def test_numerator_and_denominator_in_proportion_have_no_variance() -> None:
    x = np.array([1.0, 2.0, 5.0, 0.1])
    estimate = ratio_of(PairMoments(summed(3 * x), summed(x), float((3 * x * x).sum())))
    assert estimate is not None
    assert estimate.value == pytest.approx(3)
    assert estimate.variance == pytest.approx(0, abs=1e-12)


def test_a_covariate_that_never_varies_adjusts_nothing() -> None:
    missing = Moments(4000, 0.0, 0.0), Moments(1000, 0.0, 0.0)
    pairs = [PairMoments(metric, zeros, 0.0) for metric, zeros in zip(sample.REVENUE, missing, strict=True)]
    assert adjusted(pairs) == tuple(map(mean_of, sample.REVENUE))


def test_a_covariate_narrows_what_it_explains_and_moves_no_effect_that_is_not_there() -> None:
    """Over many A/A samples the adjusted effect is 0 on average, and varies as much as it says."""
    rng = np.random.default_rng(6)
    effects, variances = [], []
    for _ in range(400):
        covariate = rng.normal(5, 2, (2, 200))
        metric = covariate + rng.normal(0, 1, (2, 200))
        arms = [PairMoments(summed(y), summed(x), float((x * y).sum())) for x, y in zip(covariate, metric, strict=True)]
        effect = sample.compared(*adjusted(arms))
        effects.append(effect.value)
        variances.append(effect.se**2)
    assert np.mean(effects) == pytest.approx(0, abs=4 * np.std(effects) / 20)
    assert np.var(effects) == pytest.approx(np.mean(variances), rel=0.25)
    assert np.mean(variances) == pytest.approx(2 * 1 / 200, rel=0.1), "of the metric itself it would be 5 times that"


def test_too_few_units_estimate_nothing() -> None:
    one = Moments(1, 3.0, 9.0)
    assert mean_of(one) is None
    assert ratio_of(PairMoments(one, one, 9.0)) is None
    assert ratio_of(PairMoments(Moments(2, 0.0, 0.0), Moments(2, 0.0, 0.0), 0.0)) is None
    none = PairMoments(Moments(0, 0.0, 0.0), Moments(0, 0.0, 0.0), 0.0)
    pair = sample.REVENUE_GIVEN_COVARIATE[0]
    assert adjusted([none, PairMoments(one, one, 9.0)]) == (None, None)
    assert [each is None for each in adjusted([pair, none])] == [False, True]
