"""The engine's records become the same columns as Python's, and reach a journal in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from arro3.core import RecordBatch

from turnout_server.config import JournalConfig
from turnout_server.journal.boot import Boot
from turnout_server.journal.columns import SCHEMA, Encoder, ends_of
from turnout_server.journal.exposures import counted
from turnout_server.journal.keys import key_id
from turnout_server.journal.reading import query
from turnout_server.journal.ring import Ring
from turnout_server.journal.writer import Writer
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.exposure import Arm
from turnout_server.vocabulary.record import Page, Record, Timing

engine = pytest.importorskip("turnout_engine")

ARM = Arm("price", "", "control")
KEY = bytes(range(32))
BOOT = Boot("gw-1", "692937a000c0ffee")
ARRIVED_NS = 1_795_000_000_123_456_789
TRACE = "0af7651916cd43dd8448eb211c80319c"
DECISIONS = (
    Decision("price", "b", "price", 2, Reason.FALLBACK, "a", -1, 0.25, "d1", "e1"),
    Decision("preis", "ü", "modell", 2**40, Reason.OVERRIDE, "ü", 0, None, "d2", "e2"),
    Decision("", "", "bare", 1, Reason.NAMED),
    Decision("x", "a", "price", 2, Reason.SPLIT, "a", -1, 0.25, "d1", "e1", True, "trial", "checkout", True),
    Decision("x", "c", "price", 2, Reason.UNENROLLED, "c", -1, None, "d1", "e1", True, "other", "", False),
    Decision("x", "a", "price", 2, Reason.OVERRIDE, "a", 0, None, "d1", "e1", True, "trial", "checkout", None),
)
TRACES = (
    f"00-{TRACE}-b7ad6b7169203331-01",
    f"cc-{TRACE}-and-more",
    f"üü-{TRACE}-",
    f"00-{TRACE.upper()}-b7ad6b7169203331-01",
    f"00-{'0' * 32}-b7ad6b7169203331-01",
    f"00-{TRACE}",
    "ü",
    "",
)


def some(random: Random, seq: int) -> Record:
    """Return a record as the engine might make one."""
    decision = random.choice(DECISIONS)
    timing = random.choice([None, Timing(random.randrange(10**9), 1, 1, 1, 1, 1)])
    return Record(
        seq,
        ARRIVED_NS + random.randrange(10**12),
        random.randrange(10**10),
        random.choice(["OK", "CANCELLED", "MODEL_FAILED", "QUEUE_FULL"]),
        decision,
        decision.route,
        random.choice(["", "u-1", "ü" * 1024, "\0", "x" * 128, "x" * 129]),
        random.choice([f"{BOOT.boot}-{seq}", "mine", "漢" * 40]),
        random.choice([0, 1, 500, 2**40]),
        timing,
        random.choice(TRACES),
    )


def page(records: Sequence[Record]) -> Any:
    """Return *records* on a page of the engine's; it makes those names itself that the boot begins."""
    return engine.page(
        BOOT.boot,
        [
            (
                one.seq,
                one.arrived_ns,
                one.took_ns,
                one.code,
                (*decision[:4], decision.reason.name, *decision[5:10], decision[11:]),
                one.unit,
                "" if one.request_id.startswith(BOOT.boot) else one.request_id,
                one.rows,
                one.timing and one.timing.queue_ns,
                one.traceparent,
            )
            for one in records
            if (decision := one.decision) is not None
        ],
    )


def columns(batch: RecordBatch) -> dict[str, list[Any]]:
    return {name: batch.column(name).to_pylist() for name in batch.column_names}


@pytest.mark.parametrize("seed", range(5))
def test_the_columns_are_those_that_python_makes(seed: int) -> None:
    random = Random(seed)
    records = [some(random, seq) for seq in range(60)]
    encoder = Encoder(KEY)
    native = encoder.encode_pages([page(records[:7]), page(records[7:8]), page(records[8:])])
    assert native.schema == SCHEMA
    assert columns(native) == columns(encoder.encode(records))


@pytest.mark.parametrize("length", [16, 32, 64])
def test_units_are_hashed_alike_with_keys_of_every_length(length: int) -> None:
    records = [Record(0, ARRIVED_NS, 1, "OK", DECISIONS[0], "price", "anna")]
    encoder = Encoder(bytes(range(length)))
    assert columns(encoder.encode_pages([page(records)]))["unit"] == columns(encoder.encode(records))["unit"]


def test_a_key_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        page([]).encode(bytes(65), key_id(KEY))


def test_a_page_is_cut_at_its_end_and_not_joined_to_itself() -> None:
    random = Random(1)
    some_page = page([some(random, seq) for seq in range(5)])
    some_page.keep(3)
    assert (len(some_page), some_page.lost) == (3, 2)
    with pytest.raises(ValueError, match="itself"):
        some_page.join(some_page)


def test_a_ring_counts_what_is_on_pages_record_by_record() -> None:
    random = Random(2)
    ring = Ring(4)
    ring.append(some(random, 0))
    first, second, third = (page([some(random, seq) for seq in seqs]) for seqs in ([1, 2], [3, 4, 5], [6]))
    for one in (first, second, third):
        ring.extend(one)
    assert (ring.offered, ring.dropped, len(ring)) == (7, 3, 4)
    assert ring.take(2)[1] is first, "whole pages"
    assert (len(ring), [len(one) for one in ring.take(9) if not isinstance(one, Record)]) == (1, [1])
    ring.extend(page([some(random, 7)]))
    assert (ring.offered, ring.dropped, len(ring)) == (8, 3, 1)


def test_what_an_engine_lost_is_lost_for_want_of_room() -> None:
    random = Random(2)
    ring = Ring(9)
    cut = page([some(random, seq) for seq in range(5)])
    cut.keep(3)
    ring.extend(cut)
    assert (ring.offered, ring.dropped, len(ring)) == (5, 2, 3)
    cut.keep(0)
    assert cut.lost == 5


@pytest.mark.parametrize("seed", range(5))
def test_exposures_are_those_that_python_counts(seed: int) -> None:
    random = Random(seed)
    records = [some(random, seq) for seq in range(200)]
    native = page(records)
    assert counted([native]) == counted(records) != {}
    native.keep(120)
    assert (counted([native]), native.lost_exposures()) == (counted(records[:120]), counted(records[120:]))


def test_a_ring_and_a_writer_count_exposures_alike_whichever_plane_made_them(tmp_path: Path) -> None:
    random = Random(6)
    records = [some(random, seq) for seq in range(300)]
    balances = []
    for place, is_native in enumerate((False, True)):
        ring = Ring(200)
        writer = Writer(JournalConfig(path=str(tmp_path / str(place))), BOOT, ring, [KEY])
        if is_native:
            ring.extend(page(records))
        else:
            list(map(ring.append, records))
        writer.turn(0.0, closing=True)
        writer.release()
        balances.append((writer.exposures.written, writer.dropped_exposures()))
    assert balances == [(counted(records[:200]), counted(records[200:]))] * 2


def test_both_planes_records_stand_in_a_segment_in_their_order(tmp_path: Path) -> None:
    random = Random(3)
    records = [some(random, seq) for seq in range(200)]
    ring = Ring(1000)
    writer = Writer(JournalConfig(path=str(tmp_path / "j")), BOOT, ring, [KEY])
    rest = list(records)
    while rest:
        if random.random() < 0.5:
            ring.append(rest.pop(0))
        else:
            count = random.randint(1, 9)
            native, rest = rest[:count], rest[count:]
            ring.extend(page(native))
        if random.random() < 0.1:
            writer.turn(0.0)
    writer.turn(1.0, closing=True)
    writer.release()
    answer = query(tmp_path / "j", "SELECT seq, request_id, route FROM records")
    assert answer.unreadable == {}
    assert [row[0] for row in answer.rows] == list(range(200))
    assert [row[1:] for row in answer.rows] == [(one.request_id, one.route or None) for one in records]
    assert (writer.written, ring.offered, ring.dropped) == (200, 200, 0)


def test_a_batch_says_what_it_begins_and_ends_with() -> None:
    random = Random(4)
    records = [some(random, seq) for seq in range(3, 6)]
    expected = (3, 5, records[0].arrived_ns // 1000)
    assert ends_of(Encoder(KEY).encode(records)) == ends_of(Encoder(KEY).encode_pages([page(records)])) == expected


class Broken:
    """A page that cannot be written."""

    lost = 0

    def __len__(self) -> int:
        return 3

    def exposures(self) -> dict[tuple[str, str, str], int]:
        return {ARM: 2}

    def lost_exposures(self) -> dict[tuple[str, str, str], int]:
        return {}

    def keep(self, count: int) -> None:
        """All of it."""

    def join(self, later: Page) -> None:
        raise NotImplementedError

    def encode(self, key: bytes, key_id: str) -> tuple[object, object]:
        raise ValueError("texts of more than 2 GiB")


def test_pages_that_cannot_be_written_take_no_record_of_pythons_with_them(tmp_path: Path) -> None:
    ring = Ring(100)
    writer = Writer(JournalConfig(path=str(tmp_path / "j")), BOOT, ring, [KEY])
    ring.append(some(Random(5), 0)._replace(unit=""))
    ring.extend(Broken())
    writer.turn(0.0, closing=True)
    writer.release()
    assert (writer.written, writer.dropped["unwritable"], ring.offered) == (1, 3, 4)
    assert (writer.exposures.written, writer.dropped_exposures()) == ({}, {ARM: 2})
