"""What counts for an experiment."""

from __future__ import annotations

import pytest

from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.exposure import Arm, arm_of

PLAIN = Decision("price", "canary", "price", 2, Reason.SPLIT, "canary")
PLACED = PLAIN._replace(experiment="trial", layer="checkout", enrolled=True)


@pytest.mark.parametrize(
    ("decision", "unit", "experiment"),
    [
        (PLAIN, "u", ""),
        (PLACED, "u", "trial"),
        (PLACED._replace(reason=Reason.FALLBACK, target="control"), "u", "trial"),
        (PLACED._replace(available=False), "u", "trial"),
    ],
)
def test_a_unit_that_the_split_drew_a_target_for_is_exposed_to_it_whoever_answers(
    decision: Decision, unit: str, experiment: str
) -> None:
    assert arm_of(decision, unit) == Arm("price", experiment, "canary")


@pytest.mark.parametrize(
    ("decision", "unit"),
    [
        *((PLAIN._replace(reason=reason), "u") for reason in Reason if reason not in (Reason.SPLIT, Reason.FALLBACK)),
        (PLAIN._replace(reason=Reason.FALLBACK), ""),
        (PLACED._replace(reason=Reason.FALLBACK, enrolled=False), "u"),
    ],
)
def test_what_was_not_drawn_for_a_unit_that_takes_part_is_no_exposure(decision: Decision, unit: str) -> None:
    assert arm_of(decision, unit) is None
