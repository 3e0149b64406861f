"""What became of exposures shows by experiment and arm."""

from __future__ import annotations

from tests.records import record
from turnout_server.instruments.exposures import SuppressedExposures, family
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.exposure import Arm

TRIAL = Decision("price", "canary", "price", 2, Reason.SPLIT, "canary", experiment="trial", enrolled=True)


def test_each_fate_is_a_series_of_the_arm() -> None:
    arm = Arm("price", "trial", "canary")
    found = family({"written": {arm: 3}, "dropped": {arm: 1}})
    assert [label.name for label in found.labels] == ["route", "experiment", "arm", "fate"]
    assert dict(found.points) == {(*arm, "written"): 3, (*arm, "dropped"): 1}


def test_exposures_of_an_experiment_are_suppressed_where_no_journal_is_kept() -> None:
    suppressed = SuppressedExposures()
    suppressed.read(record(TRIAL, "OK", 1))
    suppressed.include(TRIAL._replace(reason=Reason.FALLBACK, target="control"), 2)
    suppressed.read(record(TRIAL, "OK", 1)._replace(copy_of=1))
    suppressed.read(record(TRIAL, "OK", 1)._replace(decision=None))
    for other in (
        TRIAL._replace(enrolled=False, reason=Reason.UNENROLLED),
        TRIAL._replace(enrolled=None, reason=Reason.OVERRIDE),
        TRIAL._replace(enrolled=None, reason=Reason.FALLBACK),
        TRIAL._replace(experiment="", enrolled=None),
    ):
        suppressed.include(other, 1)
    (found,) = suppressed.families()
    assert dict(found.points) == {("price", "trial", "canary", "suppressed"): 3}
