"""Records wait in a ring that has an end; what does not fit is counted."""

from __future__ import annotations

from pathlib import Path

from tests.journal.records import record
from turnout_server.journal.boot import BOOTS
from turnout_server.journal.counters import OFFERED, CounterFile, counters_of
from turnout_server.journal.ring import Ring
from turnout_server.vocabulary.exposure import Arm


def test_a_full_ring_drops_the_newest_and_counts() -> None:
    ring = Ring(2)
    for seq in range(3):
        ring.append(record(seq))
    assert (ring.offered, ring.dropped, [one.seq for one in ring.take(9)]) == (3, 1, [0, 1])


def test_what_is_dropped_is_counted_by_arm_where_it_is_an_exposure() -> None:
    ring = Ring(1)
    for one in (record(0), record(1), record(2, unit=""), record(3, copy_of=0)):
        ring.append(one)
    assert (ring.dropped, ring.dropped_exposures) == (3, {Arm("price", "", "control"): 1})


def test_what_waits_can_be_looked_at_and_waits_on() -> None:
    ring = Ring(2)
    ring.append(record(0))
    assert (ring.waiting(), len(ring)) == ([record(0)], 1)


def test_a_record_without_a_decision_is_not_offered() -> None:
    ring = Ring(2)
    ring.append(record(-1, decision=None))
    assert (ring.offered, len(ring)) == (0, 0)


def test_what_is_counted_is_what_a_counter_file_has(tmp_path: Path) -> None:
    ring = Ring(1)
    for seq in range(3):
        ring.append(record(seq))
    counters = CounterFile(tmp_path, "gw-1")
    counters.store(ring.cells)
    said = counters_of(tmp_path / BOOTS / "gw-1")
    assert (said.offered, said.dropped["ring_full"], said.is_running) == (3, 2, True)
    counters.close()
    assert not counters_of(tmp_path / BOOTS / "gw-1").is_running


def test_what_was_taken_makes_room() -> None:
    ring = Ring(2)
    for seq in range(2):
        ring.append(record(seq))
    assert [one.seq for one in ring.take(1)] == [0]
    ring.append(record(2))
    assert (ring.dropped, [one.seq for one in ring.take(9)], len(ring)) == (0, [1, 2], 0)


def test_who_counts_elsewhere_is_not_contradicted() -> None:
    """The engine knows of records before they come here."""
    ring = Ring(2)
    ring.are_counted_elsewhere = True
    ring.cells[OFFERED] = 9
    ring.append(record(0))
    assert (ring.offered, ring.cells[OFFERED]) == (1, 9)
