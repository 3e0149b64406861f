"""Whoever reads a report learns whether to believe it, and nothing that speaks against it is left out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.experiments import found
from turnout_server.experiments.checks import Check, checks
from turnout_server.experiments.findings import ArmLoss, Findings

ARMS = (ArmLoss("champion", 19_999, 1), ArmLoss("challenger", 19_997, 3))
WORSE = (ArmLoss("champion", 20_000, 0), ArmLoss("challenger", 19_000, 1_000))


def about(subject: str, findings: Findings) -> Check:
    [one] = [each for each in checks(findings) if each.subject == subject]
    return one


def of(**changes: Any) -> Findings:
    return found.findings(soundness=found.soundness(**changes))


def test_sound_data_have_nothing_against_them() -> None:
    assert {each.weight for each in checks(found.findings())} == {"fine"}


@pytest.mark.parametrize(
    ("changes", "subject", "weight", "said"),
    [
        ({"srm_p": 0.0004}, "split (SRM)", "wrong", "sample ratio mismatch: p = 0.0004, below 0.001"),
        ({"srm_p": None}, "split (SRM)", "wrong", "not checked: nothing says what arms should have got"),
        ({"srm_p": float("nan")}, "split (SRM)", "wrong", "sample ratio mismatch: p = none, below 0.001"),
        ({"offered": 0}, "records lost", "look", "unknown: no gateway has counted"),
        ({"lost": 500}, "records lost", "wrong", "500 of 40,000 that gateways offered to the journal, 1.25%"),
        ({"lost": 4}, "records lost", "look", "4 of 40,000 that gateways offered to the journal, 0.01%"),
        ({"lost": 4, "lost_unknown": 4}, "unknown arm", "look", "of 4 of the 4 lost records nobody knows whose"),
        ({"lost": 4, "losses": ARMS}, "lost by arm", "look", "champion 1 of 20,000; challenger 3 of 20,000"),
        ({"lost": 4, "losses": WORSE}, "lost by arm", "wrong", "an arm lost more than 1% of its exposures"),
        ({"immature": 5_000}, "maturity", "look", "15,000 of 20,000 units count; the windows of 5,000 are open"),
        ({"excluded": 7}, "excluded", "look", "7 of 20,000 units were taken for robots"),
        ({"moved": 7}, "moved", "look", "7 of 20,000 units were assigned to a second arm later"),
        ({"fallbacks": 7}, "fallbacks", "look", "7 of 40,000 exposures were answered by another arm"),
        ({"failed": 7}, "failed", "look", "7 of 40,000 exposures were refused or failed"),
        ({"others": {"PINNED": 7, "COPY": 1}}, "no exposures", "look", "by why: 1 COPY, 7 PINNED"),
        ({"duplicates": 7}, "duplicates", "look", "7 repeated what one of the 1,180 outcomes says"),
        ({"quarantined": 7}, "quarantined", "look", "7 of 1,180 outcomes contradict themselves"),
        ({"early": 7}, "left out", "look", "7 from before their unit's exposure"),
        ({"nobodys": 7}, "left out", "look", "7 outcomes are of nobody known"),
        ({"unreadable": {"a.parquet": "is torn"}}, "unreadable", "wrong", "a.parquet: is torn"),
    ],
)
def test_what_speaks_against_the_data_is_said(changes: dict[str, Any], subject: str, weight: str, said: str) -> None:
    check = about(subject, of(**changes))
    assert check.weight == weight
    assert said in check.said


def test_a_definition_that_may_have_been_chosen_after_looking_is_marked() -> None:
    check = about("definition", found.findings(frozen=False))
    assert check.weight == "look"
    assert check.said.startswith("not frozen")


def test_every_mark_is_shown() -> None:
    marks = [
        each.said for each in checks(found.findings(marks=("stopped by ana", "another"))) if each.subject == "mark"
    ]
    assert marks == ["stopped by ana", "another"]
