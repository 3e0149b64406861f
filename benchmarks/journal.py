"""What the journal costs a request, in all threads of the process."""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path

from turnout_server.config import JournalConfig
from turnout_server.journal.boot import identify
from turnout_server.journal.ring import Ring
from turnout_server.journal.writer import Writer
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.record import OK, Record, Timing

_KEY = b"a key of benchmarks, of no worth"
_SOME = 4096


def cost_us(records: int) -> float:
    """Return the processor time of a record in microseconds: appended, hashed, made into columns, and written.

    Args:
        records: how many are written, in one segment; 100,000 make the file's own cost small.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = JournalConfig(path=folder, ring_records=max(records, _SOME))
        ring = Ring(config.ring_records)
        writer = Writer(config, identify("bench"), ring, [_KEY])
        writer.warm_up()
        realistic = list(map(_record, range(records)))
        started = time.process_time()
        for record in realistic:
            ring.append(record)
        writer.turn(0.0, closing=True)
        spent = time.process_time() - started
        if writer.written != records:
            raise RuntimeError(f"{writer.written} of {records} records were written: {writer.problem}")
        writer.release()
        return spent / records * 1e6


def append_ns(records: int) -> float:
    """Return what one append costs the event loop, in nanoseconds."""
    ring = Ring(records)
    realistic = list(itertools.islice(itertools.cycle(map(_record, range(_SOME))), records))
    append = ring.append
    started = time.process_time()
    for record in realistic:
        append(record)
    return (time.process_time() - started) / records * 1e9


def bytes_a_row(records: int) -> float:
    """Return how large a record is on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        ring = Ring(records)
        writer = Writer(JournalConfig(path=folder, ring_records=records), identify("bench"), ring, [_KEY])
        for number in range(records):
            ring.append(_record(number))
        writer.turn(0.0, closing=True)
        writer.release()
        return sum(file.stat().st_size for file in Path(folder).rglob("*.parquet")) / records


_DECISIONS = [
    Decision(
        "recommend", f"target-{n}", "recommender", n + 1, Reason.SPLIT, f"target-{n}", -1, 0.25, "7" * 64, "e" * 16
    )
    for n in range(4)
]


def _record(number: int) -> Record:
    """Return a record as an experiment's are: another unit, request and trace each, one of a few decisions."""
    return Record(
        seq=number,
        arrived_ns=1_790_000_000_000_000_000 + number * 311_017,
        took_ns=900_000 + number * 7919 % 400_000,
        code=OK,
        decision=_DECISIONS[number * 2_654_435_761 % 4],
        route="recommend",
        unit=f"user-{number * 2_654_435_761 % 1_000_003}",
        request_id=f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}",
        rows=1,
        timing=Timing(40_000 + number % 1000, 1000, 700_000, 1000, 4, 1),
        traceparent=f"00-{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}-00f067aa0ba902b7-01",
    )


def main() -> None:
    """Print all of it."""
    print(f"{cost_us(100_000):.2f} us a record in the whole process; append {append_ns(100_000):.0f} ns", flush=True)
    print(f"{bytes_a_row(100_000):.1f} bytes a row")


if __name__ == "__main__":
    main()
