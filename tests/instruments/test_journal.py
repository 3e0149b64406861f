"""How a journal is doing, as metrics."""

from __future__ import annotations

from turnout_server.instruments.instruments import Instruments
from turnout_server.instruments.journal import JournalInstruments
from turnout_server.journal.journal import Counts
from turnout_server.vocabulary.exposure import Arm

CANARY = Arm("price", "trial", "canary")
COUNTS = Counts(
    offered=10,
    written=6,
    dropped={"ring_full": 1, "no_space": 2},
    segments=2,
    bytes=99,
    problem="full",
    written_exposures={CANARY: 5},
    dropped_exposures={CANARY: 2},
)


def test_what_is_read_adds_up_to_what_was_offered() -> None:
    instruments = Instruments()
    instruments.include(JournalInstruments(lambda: COUNTS))
    found = {family.name: dict(family.points) for family in instruments.families()}
    written, waiting = found["turnout.journal.written"][()], found["turnout.journal.waiting"][()]
    dropped = found["turnout.journal.dropped"]
    assert dropped == {("ring_full",): 1, ("no_space",): 2}
    assert found["turnout.journal.offered"] == {(): written + waiting + sum(dropped.values())}  # type: ignore[operator,arg-type]
    assert found["turnout.journal.writable"] == {(): 0}
    assert found["turnout.exposures"] == {(*CANARY, "written"): 5, (*CANARY, "dropped"): 2}
