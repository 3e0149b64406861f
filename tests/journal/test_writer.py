"""Whatever happens, each record that was offered is written once, or lost and counted, or still there."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.journal.journals import write_counters
from tests.journal.records import ARRIVED_NS, KEY, record, unwritable
from turnout_server.config import JournalConfig
from turnout_server.journal import counters as counters_module
from turnout_server.journal import writer as writers
from turnout_server.journal.accounts import accounts, footers
from turnout_server.journal.boot import BOOTS, Boot
from turnout_server.journal.counters import Cells, CounterFile, counters_of
from turnout_server.journal.exposures import read
from turnout_server.journal.ring import Ring
from turnout_server.journal.schema import SEGMENTS, STAGING
from turnout_server.journal.segments import Footer, SegmentFiles
from turnout_server.journal.writer import Writer
from turnout_server.vocabulary.exposure import Arm

BOOT = Boot("gw-1", "692937a000c0ffee")
ARM = Arm("price", "", "control")
"""What the tests' records are exposures of."""


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


def test_a_small_ring_is_emptied_before_the_segment_is_due(tmp_path: Path) -> None:
    ring, writer = started(tmp_path, ring_records=4, rotate_s=60.0)
    for turn in range(10):
        for seq in range(3 * turn, 3 * turn + 3):
            ring.append(record(seq))
        writer.turn(float(turn))
    assert ring.dropped == 0
    writer.turn(60.0)
    assert seqs_in(tmp_path) == list(range(30))


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


def test_a_segment_is_finished_when_it_is_large_enough(tmp_path: Path) -> None:
    ring, writer = started(tmp_path, ring_records=4, rotate_s=60.0, rotate_bytes=1)
    for seq in range(4):
        ring.append(record(seq))
    writer.turn(0.0)
    assert seqs_in(tmp_path) == [0, 1, 2, 3]
    assert writer.segments == 2


def test_footers_say_what_was_offered_and_lost_until_then(tmp_path: Path) -> None:
    ring, writer = started(tmp_path, ring_records=2, rotate_s=1.0)
    for seq in range(3):
        ring.append(record(seq))
    writer.turn(0.0)
    writer.turn(1.0)
    ring.append(record(3))
    ring.append(unwritable(4))
    writer.turn(2.0, closing=True)
    first, last = sorted(tmp_path.glob(SEGMENTS))
    with duckdb.connect() as database:
        said = footers(database, [first, last])
    wanted = ("segment", "first_seq", "last_seq", "written", "offered", "closed")
    assert [said[first][name] for name in wanted] == ["0", "0", "1", "2", "3", "false"]
    assert [said[last][name] for name in wanted] == ["1", "3", "3", "1", "5", "true"]
    assert json.loads(said[first]["dropped"])["ring_full"] == 1
    lost = {cause: count for cause, count in json.loads(said[last]["dropped"]).items() if count}
    assert lost == {"ring_full": 1, "unwritable": 1}
    assert read(said[first]["dropped_exposures"]) == {ARM: 1}
    assert read(said[last]["dropped_exposures"]) == {ARM: 2}


def test_an_end_with_nothing_left_to_write_is_marked_all_the_same(tmp_path: Path) -> None:
    ring, writer = started(tmp_path, rotate_s=1.0)
    ring.append(record(0))
    writer.turn(0.0)
    writer.turn(1.0)
    writer.turn(2.0, closing=True)
    writer.release()
    (tmp_path / BOOTS / BOOT.name).unlink()  # the marker says it where the counters cannot
    (found,) = accounts(tmp_path, is_thorough=True).accounts
    assert (found.state, found.segments, found.is_accounted) == ("clean", 2, True)


def test_a_boot_that_was_never_asked_leaves_no_segment(tmp_path: Path) -> None:
    _, writer = started(tmp_path)
    writer.turn(0.0)
    writer.turn(100.0, closing=True)
    writer.release()
    assert list(tmp_path.glob(SEGMENTS)) == []
    (found,) = accounts(tmp_path).accounts
    assert (found.state, found.offered, found.is_accounted) == ("clean", 0, True)


def test_what_cannot_be_written_is_kept_until_there_is_no_room_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring, writer = started(tmp_path, rotate_s=1.0, rotate_bytes=80_000)
    fail_with(monkeypatch, errno.ENOSPC)
    seq, now = 0, 0.0
    while not writer.dropped["no_space"]:
        held = writer._rows
        ring.append(record(seq))
        seq, now = seq + 1, now + 1.0
        writer.turn(now)
    assert writer.dropped["no_space"] == seq == held + 1 > 10
    fail_with(monkeypatch, None)
    ring.append(record(seq))
    writer.turn(now, closing=True)
    assert seqs_in(tmp_path) == [seq]


def test_without_a_key_nothing_is_written_and_with_one_all_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Ring(100)
    writer = Writer(JournalConfig(path=str(tmp_path), rotate_s=5.0), BOOT, ring)
    with monkeypatch.context() as patched:
        patched.setattr(writers, "own_keys", failing(errno.EROFS))
        ring.append(record(0))
        writer.turn(0.0)
        writer.turn(5.0)
        assert writer.dropped["no_permission"] == 1
        ring.append(record(1))  # it waits for a key for as long as it may
        writer.turn(5.5)
    writer.turn(6.5)
    writer.turn(10.5)
    assert seqs_in(tmp_path) == [1]
    assert not writer.problem


def test_counts_are_in_memory_until_there_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring, writer = started(tmp_path, ring_records=2)
    with monkeypatch.context() as patched:
        patched.setattr(writers, "CounterFile", failing(errno.ENOSPC))
        for seq in range(3):
            ring.append(record(seq))
        writer.turn(0.0)
        assert not (tmp_path / BOOTS).exists()
    writer.turn(writers.RETRY_S / 2)
    assert not (tmp_path / BOOTS).exists()
    writer.turn(writers.RETRY_S)
    said = counters_of(tmp_path / BOOTS / BOOT.name)
    assert (said.offered, said.dropped["ring_full"]) == (3, 1)


def test_a_start_sweeps_what_dead_boots_left(tmp_path: Path) -> None:
    write_counters(tmp_path, offered=1, written=0, segments=0, boot="0" * 16)
    half = tmp_path / STAGING / f"gw-1-{'0' * 16}-0.parquet"
    half.parent.mkdir()
    half.write_bytes(b"half")
    _, writer = started(tmp_path)
    writer.turn(0.0)
    assert not half.exists()


# ---------------------------------------------------------------- whatever happens

PARTS = {
    "stage": (SegmentFiles, "stage"),
    "finish": (SegmentFiles, "finish"),
    "counter file": (writers, "CounterFile"),
    "flush": (CounterFile, "flush"),
    "key": (writers, "own_keys"),
}
"""What may fail, one apart from the other."""
ERRORS = st.sampled_from([errno.ENOSPC, errno.EROFS, errno.EIO])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 12)),
        st.tuples(st.just("unwritable"), st.just(1)),
        st.tuples(st.just("turn"), st.integers(0, 3)),
        st.tuples(st.sampled_from(sorted(PARTS)), ERRORS),
        st.tuples(st.just("recover"), st.just(0)),
    ),
    max_size=25,
)


WHOLE = {(owner, name): getattr(owner, name) for owner, name in PARTS.values()}


def failing(number: int) -> Callable[..., Any]:
    """Return what fails with that error, whatever it is called with."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@settings(max_examples=25, deadline=None)
@given(first=STEPS, steps=STEPS, ending=st.sampled_from(["close", "crash", "give up", "hang"]))
@example(first=[("counter file", errno.ENOSPC)], steps=[("append", 3), ("turn", 3)], ending="crash")
@example(first=[("key", errno.EROFS)], steps=[("append", 12), ("append", 12), ("turn", 3)], ending="close")
@example(first=[("finish", errno.EIO)], steps=[("append", 3), ("turn", 3), ("append", 3), ("turn", 1)], ending="crash")
@example(first=[("counter file", errno.ENOSPC)], steps=[("append", 3), ("recover", 0)], ending="give up")
@example(first=[], steps=[("append", 3), ("flush", errno.EIO), ("turn", 3)], ending="close")
def test_offered_is_written_and_lost_and_what_is_still_there(
    first: list[tuple[str, int]], steps: list[tuple[str, int]], ending: str
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as broken:
        journal, now, seq = Path(folder), 0.0, 0
        # Shared memory of the test's own: what one example leaves is not the next one's.
        broken.setattr(counters_module, "SHARED", journal / "memory")
        (journal / "memory").mkdir()
        ring = Ring(16, Cells(BOOT.name))
        config = JournalConfig(path=folder, ring_records=16, rotate_s=2.0, rotate_bytes=4000)
        writer = Writer(config, BOOT, ring)

        def waiting() -> int:
            return len(ring) + writer._rows

        for what, number in [*first, ("turn", 0), *steps]:
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
            elif what == "recover":
                for owner, name in PARTS.values():
                    broken.setattr(owner, name, WHOLE[owner, name])
            else:
                owner, name = PARTS[what]
                broken.setattr(owner, name, failing(number))
            assert ring.offered == seq == writer.written + ring.dropped + sum(writer.dropped.values()) + waiting()
            assert min(writer.written, ring.dropped, *writer.dropped.values()) >= 0
            assert_same_by_arm(ring, writer)
            if what == "turn" and (journal / BOOTS / BOOT.name).exists():  # a reader beside it finds a balance
                assert_balanced(journal, seq, pending=waiting())
        if ending in ("close", "give up"):
            if ending == "give up":
                writer.give_up()
            writer.turn(now + 10, closing=True)
        elif ending == "hang":
            writer.give_up()
        left = waiting() if ending == "crash" else 0
        assert_same_by_arm(ring, writer)
        assert ring.offered == writer.written + ring.dropped + sum(writer.dropped.values()) + left
        has_file = (journal / BOOTS / BOOT.name).exists()
        writer.release()
        if has_file:
            state = "unclean" if ending == "crash" else "clean"
            assert_balanced(journal, seq, missing=left, state=state)
        found = seqs_in(journal)
        assert len(found) == len(set(found)) == writer.written


def assert_same_by_arm(ring: Ring, writer: Writer) -> None:
    """See that what was written and lost adds up by arm, too: all records here are exposures of one."""
    lost = ring.dropped + sum(writer.dropped.values())
    assert {arm: count for arm, count in writer.exposures.written.items() if count} == by_arm(writer.written)
    assert {arm: count for arm, count in writer.dropped_exposures().items() if count} == by_arm(lost)


def by_arm(count: int) -> dict[Arm, int]:
    return {ARM: count} if count else {}


def assert_balanced(journal: Path, offered: int, **expected: object) -> None:
    """See that the boot's account is as expected, to the last record, and its segments are in order."""
    (found,) = accounts(journal).accounts
    lost = sum(found.dropped.values())
    assert found.offered == offered == found.written + lost + found.pending + found.missing
    assert (found.gone, found.problems) == (0, ())
    assert {name: getattr(found, name) for name in expected} == expected
