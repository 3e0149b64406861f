"""Whatever happens, each record that was offered is written once, or lost and counted, or still there."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.journal.records import ARRIVED_NS, KEY, record, unwritable
from turnout_server.config import JournalConfig
from turnout_server.journal import writer as writers
from turnout_server.journal.boot import BOOTS, Boot
from turnout_server.journal.counters import counters_of
from turnout_server.journal.ring import Ring
from turnout_server.journal.schema import SEGMENTS
from turnout_server.journal.segments import Footer, SegmentFiles
from turnout_server.journal.writer import Writer

BOOT = Boot("gw-1", "692937a000c0ffee")


def seqs_in(journal: Path) -> list[int]:
    if not list(journal.glob(SEGMENTS)):
        return []
    with duckdb.connect() as database:
        rows = database.execute(f"SELECT seq FROM read_parquet('{journal}/{SEGMENTS}') ORDER BY seq").fetchall()
    return [seq for (seq,) in rows]


def started(journal: Path, ring_records: int = 100, **values: Any) -> tuple[Ring, Writer]:
    ring = Ring(ring_records)
    return ring, Writer(JournalConfig(path=str(journal), ring_records=ring_records, **values), BOOT, ring, [KEY])


def fail_with(monkeypatch: pytest.MonkeyPatch, number: int | None) -> None:
    """Let staging fail with that error from now on; None lets it work."""

    def stage(self: SegmentFiles, batches: Sequence[Any], footer: Footer) -> Path:
        raise OSError(number, os.strerror(number or 0))

    monkeypatch.undo()
    if number is not None:
        monkeypatch.setattr(SegmentFiles, "stage", stage)


def test_a_segment_is_finished_when_its_first_record_is_old_enough(tmp_path: Path) -> None:
    ring, writer = started(tmp_path, rotate_s=60.0)
    ring.append(record(0))
    writer.turn(0.0)
    writer.turn(59.0)
    assert seqs_in(tmp_path) == []
    writer.turn(60.0)
    assert seqs_in(tmp_path) == [0]


def test_a_record_that_cannot_be_written_takes_no_other_with_it(tmp_path: Path) -> None:
    ring, writer = started(tmp_path)
    for one in (record(0), unwritable(1), record(2)):
        ring.append(one)
    writer.turn(0.0, closing=True)
    assert seqs_in(tmp_path) == [0, 2]
    assert writer.dropped["unwritable"] == 1


def test_a_folder_called_after_nobodys_home_is_just_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ring, writer = started(Path("~") / "journal")
    ring.append(record(0))
    writer.turn(0.0, closing=True)
    assert (writer.written, seqs_in(tmp_path / "~" / "journal")) == (1, [0])


@pytest.mark.parametrize(
    ("number", "cause"),
    [(errno.ENOSPC, "no_space"), (errno.EROFS, "no_permission"), (errno.EACCES, "no_permission"), (5, "io_error")],
)
def test_what_is_lost_at_the_end_is_counted_by_its_cause(
    number: int, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring, writer = started(tmp_path)
    ring.append(record(0))
    fail_with(monkeypatch, number)
    writer.turn(0.0, closing=True)
    assert {name: count for name, count in writer.dropped.items() if count} == {cause: 1}
    assert counters_of(tmp_path / BOOTS / BOOT.name).dropped[cause] == 1


def test_a_failure_is_tried_again_once_a_second_and_then_all_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring, writer = started(tmp_path, rotate_s=1.0)
    ring.append(record(0))
    fail_with(monkeypatch, errno.ENOSPC)
    writer.turn(0.0)
    writer.turn(1.0)
    assert writer.problem
    fail_with(monkeypatch, None)
    writer.turn(1.0 + writers.RETRY_S / 2)
    assert seqs_in(tmp_path) == []
    writer.turn(1.0 + writers.RETRY_S)
    assert seqs_in(tmp_path) == [0]
    assert not writer.problem


def test_the_time_of_day_may_go_backwards(tmp_path: Path) -> None:
    ring, writer = started(tmp_path)
    for seq, arrived_ns in enumerate([ARRIVED_NS, ARRIVED_NS - 7200 * 10**9]):
        ring.append(record(seq, arrived_ns=arrived_ns))
    writer.turn(0.0, closing=True)
    assert seqs_in(tmp_path) == [0, 1]


def test_who_gives_up_counts_the_rest_as_closing(tmp_path: Path) -> None:
    ring, writer = started(tmp_path)
    for seq in range(3):
        ring.append(record(seq))
    writer.turn(0.0)
    writer.give_up()
    writer.turn(1.0, closing=True)  # the writer that hung comes back, and must change nothing
    assert writer.dropped["closing"] == 3
    assert (writer.written, seqs_in(tmp_path)) == (0, [])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 12)),
        st.tuples(st.just("unwritable"), st.just(1)),
        st.tuples(st.just("turn"), st.integers(0, 3)),
        st.tuples(st.just("fail"), st.sampled_from([errno.ENOSPC, errno.EROFS, errno.EIO])),
        st.tuples(st.just("recover"), st.just(0)),
    ),
    max_size=20,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=STEPS, ending=st.sampled_from(["close", "crash", "give up"]))
def test_offered_is_written_and_lost_and_what_is_still_there(
    steps: list[tuple[str, int]], ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fail_with(monkeypatch, None)
        journal, now, seq = Path(folder), 0.0, 0
        ring, writer = started(journal, ring_records=16, rotate_s=2.0, rotate_bytes=4000)
        writer.turn(now)
        for what, number in steps:
            if what == "append":
                for one in range(seq, seq + number):
                    ring.append(record(one))
                seq += number
            elif what == "unwritable":
                ring.append(unwritable(seq))
                seq += 1
            elif what == "turn":
                now += number
                writer.turn(now)
            else:
                fail_with(monkeypatch, number or None)
            waiting = len(ring) + len(writer._seqs)
            assert ring.offered == writer.written + ring.dropped + sum(writer.dropped.values()) + waiting
        fail_with(monkeypatch, None)
        if ending == "close":
            writer.turn(now + 10, closing=True)
        elif ending == "give up":
            writer.give_up()
        writer.store()
        found = seqs_in(journal)
        said = counters_of(journal / BOOTS / BOOT.name)
        assert len(found) == len(set(found)) == said.written
        assert said.offered == seq
        missing = said.offered - said.written - sum(said.dropped.values())
        assert missing == (len(ring) + len(writer._seqs) if ending == "crash" else 0)
        writer.release()
