"""What an experiment can find, and what it takes."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import pytest

from tests.experiments.worlds import experiment
from turnout_server.experiments.definition import InvalidExperimentError
from turnout_server.experiments.planning import planned

CONVERSION = {"kind": "proportion", "outcome": "purchase", "baseline": {"mean": 0.1}}


def test_without_a_baseline_nobody_knows() -> None:
    assert planned(experiment()) is None


def test_a_fixed_plan_needs_what_the_textbook_says() -> None:
    one = planned(experiment(metrics={"conversion": CONVERSION}, method="fixed", days=7, minimal_effect=0.1))
    assert one is not None
    assert one.needed is not None
    distance = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
    oracle = 2 * (0.1 * 0.9 + 0.11 * 0.89) * (distance / 0.01) ** 2
    assert abs(one.needed / oracle - 1) < 0.001
    assert not one.is_enough


def test_what_is_needed_is_what_finds_it() -> None:
    for arms in (["new"], ["new", "newer"]):
        fields = {"metrics": {"conversion": CONVERSION}, "treatments": arms}
        one = planned(experiment(**fields, minimal_effect=0.2))
        assert one is not None
        assert one.needed is not None
        again = planned(experiment(**fields, minimal_effect=0.2, units=one.needed))
        assert again is not None
        assert again.is_enough
        assert again.detectable is not None
        assert abs(again.detectable - 0.2) < 0.001


def test_a_mean_is_planned_for_a_treatment_that_varies_more() -> None:
    baseline = {"mean": 2.0, "variance": 50.0}
    metrics = {"conversion": {"kind": "mean", "outcome": "purchase", "baseline": baseline}}
    one = planned(experiment(metrics=metrics, method="fixed", days=7, minimal_effect=0.5, units=20))
    assert one is not None
    assert one.needed is not None
    distance = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
    assert abs(one.needed / (2 * (50 + 50 * 1.5**2) * (distance / 1.0) ** 2) - 1) < 0.01
    assert one.detectable is None, "20 units find none: a larger one varies as much more"


@pytest.mark.parametrize(
    ("fields", "mean"),
    [
        ({"minimal_effect": 5e-324}, 0.1),
        ({}, 1e-300),
        ({"alpha": 5e-324, "treatments": ["new", "newer"]}, 0.1),
        ({"power": 5e-324}, 0.1),
    ],
    ids=["effect", "mean", "alpha", "power"],
)
def test_numbers_too_far_apart_to_plan_with_are_refused(fields: dict[str, Any], mean: float) -> None:
    metrics = {"conversion": CONVERSION | {"baseline": {"mean": mean}}}
    with pytest.raises(
        InvalidExperimentError, match=r"\$\.metrics\.conversion\.baseline: no size can be planned of it"
    ):
        planned(experiment(metrics=metrics, **fields))
