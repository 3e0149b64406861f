"""What other monitoring is told of an experiment is text that Prometheus reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.experiments import found
from turnout_server.experiments.findings import ArmLoss
from turnout_server.experiments.textfile import render

WHICH = {"experiment": "ranker-v2", "route": "ranking"}
LOST = (ArmLoss("champion", 900, 1), ArmLoss("challenger", 800, 2))

Samples = dict[tuple[str, str | None], float]


def read(text: str) -> Samples:
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert all({name: sample.labels[name] for name in WHICH} == WHICH for sample in samples)
    return {(sample.name, sample.labels.get("arm")): sample.value for sample in samples}


def test_it_says_the_split_units_and_losses_by_arm() -> None:
    made = found.findings(soundness=found.soundness(losses=LOST, srm_e=1234.5))
    assert read(render(made)) == {
        ("turnout_experiment_srm_e_value", None): 1234.5,
        ("turnout_experiment_units", "champion"): 1000,
        ("turnout_experiment_units", "challenger"): 1001,
        ("turnout_experiment_exposures", "champion"): 900,
        ("turnout_experiment_exposures", "challenger"): 800,
        ("turnout_experiment_exposures_lost", "champion"): 1,
        ("turnout_experiment_exposures_lost", "challenger"): 2,
        ("turnout_experiment_as_of_seconds", None): made.as_of.timestamp(),
    }


def test_a_split_that_cannot_be_checked_has_no_e_value() -> None:
    made = found.findings(soundness=found.soundness(srm_e=None))
    assert ("turnout_experiment_srm_e_value", None) not in read(render(made))
