"""How outcomes are doing, as metrics."""

from __future__ import annotations

from turnout_server.instruments.families import Buckets
from turnout_server.instruments.instruments import Instruments
from turnout_server.instruments.outcomes import OutcomeInstruments
from turnout_server.outcomes.intake import Counts

OUTCOMES = Counts({"accepted": 3, "duplicate": 2, "rejected": 1}, Buckets((1.0, 10.0), (1, 2, 0), 7.5), 3, "full")


def test_every_fate_is_counted_and_a_disk_that_fails_shows() -> None:
    instruments = Instruments()
    instruments.include(OutcomeInstruments(lambda: OUTCOMES))
    found = {family.name: dict(family.points) for family in instruments.families()}
    assert found["turnout.outcomes"] == {("accepted",): 3, ("duplicate",): 2, ("rejected",): 1}
    assert found["turnout.outcomes.lag"] == {(): OUTCOMES.lag}
    assert found["turnout.outcomes.waiting"] == {(): 3}
    assert found["turnout.outcomes.writable"] == {(): 0}


def test_no_label_comes_from_a_caller() -> None:
    labels = {label.name for family in OutcomeInstruments(lambda: OUTCOMES).families() for label in family.labels}
    assert labels == {"fate"}
