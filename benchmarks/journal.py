"""What the journal costs: the CPU time of the whole process for each record, from `append` to the finished segment."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator

from turnout_server.config import JournalConfig
from turnout_server.journal.boot import identify
from turnout_server.journal.journal import opening
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.record import OK, Record, Timing


def records(count: int) -> list[Record]:
    """Return records as real traffic makes them: every value of its own, a trace and a unit each, four arms."""
    arms = [
        Decision("price", arm, "price", number + 1, Reason.SPLIT, arm, -1, 0.25, "d" * 64, "e" * 16)
        for number, arm in enumerate(("control", "a", "b", "c"))
    ]

    def made() -> Iterator[Record]:
        for seq in range(count):
            timing = Timing(1_000 + seq % 977, 1, 1, 1, 1, 1)
            trace = f"00-{seq + 1:032x}-{seq + 1:016x}-01"
            at = 1_800_000_000_000_000_000 + seq * 100_000
            unit, request_id = f"customer-{seq % 5000}", f"{seq:016x}"
            yield Record(seq, at, 500_000 + seq, OK, arms[seq % 4], "price", unit, request_id, 1, timing, trace)

    return list(made())


def cost_us(count: int = 100_000) -> float:
    """Return the CPU time of the whole process for each of *count* records, in microseconds."""
    made = records(count)
    with tempfile.TemporaryDirectory() as folder:
        config = JournalConfig(path=folder, ring_records=count)
        with opening(config, identify("bench"), close_s=120.0) as journal:
            time.sleep(2.0)  # what the writer loads at its start is not a record's
            started = time.process_time_ns()
            for record in made:
                journal.append(record)
        spent = time.process_time_ns() - started
        counts = journal.counts()
    assert counts.written == counts.offered, counts
    return spent / count / 1000.0
