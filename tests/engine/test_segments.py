"""Segments that the engine writes hold what DuckDB's hold, under the same names and types, or they fail as files do."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
from arro3.core import Array, DataType, RecordBatch

from tests.engine.test_page import BOOT, KEY, page, some
from turnout_server.config import JournalConfig
from turnout_server.journal import segments as segments_module
from turnout_server.journal.columns import Encoder
from turnout_server.journal.ring import Ring
from turnout_server.journal.schema import COLUMNS
from turnout_server.journal.segments import Footer, SegmentFiles, cause_of
from turnout_server.journal.writer import Writer
from turnout_server.vocabulary.record import Comparison, Record

engine = pytest.importorskip("turnout_engine")

FOOTER = Footer(BOOT, 0, 0, 1, 2, 9, {"ring_full": 4}, False)


def rows(query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as database:
        return database.execute(query).fetchall()


def copied(random: Random, seq: int) -> Record:
    """Return a record as Python makes some: of a mirror's copy, or of a caller who is known."""
    comparison = Comparison(random.random(), None, random.random() < 0.5, -1.5, nans=seq, note=random.choice(["", "ä"]))
    return some(random, seq)._replace(
        principal=random.choice(["", "ann"]),
        copy_of=random.choice([-1, seq]),
        comparison=random.choice([None, comparison]),
        took_ns=random.choice([0, 2**63 - 1, random.randrange(10**9)]),
    )


def batches(seed: int) -> Iterator[RecordBatch]:
    """Yield batches of all lengths: records on pages, Python's, and those without one value in a column."""
    random, encoder, seq = Random(seed), Encoder(KEY), 0
    for length in (1, 7, 8, 9, 33, 128, 129, 300, 1000):
        make = random.choice([some, copied])
        records = [make(random, one) for one in range(seq, seq + length)]
        seq += length
        yield encoder.encode_pages([page(records)]) if make is some else encoder.encode(records)
        if length == 9:
            yield encoder.encode([records[0]._replace(unit="", traceparent="", timing=None)] * 9)


def staged(folder: Path, some_batches: Sequence[RecordBatch], write: Any) -> Path:
    return SegmentFiles(folder, BOOT, write).stage(some_batches, FOOTER)


@pytest.mark.parametrize("seed", range(5))
def test_both_ways_to_write_say_the_same(tmp_path: Path, seed: int) -> None:
    made = list(batches(seed))
    ours, theirs = staged(tmp_path / "a", made, engine.write_segment), staged(tmp_path / "b", made, None)
    for query in (
        "FROM read_parquet('{}')",
        "DESCRIBE FROM read_parquet('{}')",
        "SELECT name, type, repetition_type, converted_type, logical_type FROM parquet_schema('{}') OFFSET 1",
        "SELECT key, value FROM parquet_kv_metadata('{}') ORDER BY key",
        "SELECT path_in_schema, num_values, stats_null_count, compression FROM parquet_metadata('{}')",
        "SELECT path_in_schema, stats_min_value, stats_max_value FROM parquet_metadata('{}')"
        " WHERE type IN ('INT32', 'INT64') OR path_in_schema IN ('boot', 'route', 'served', 'code')",
    ):
        assert rows(query.format(ours)) == rows(query.format(theirs)), query


def test_what_is_sought_by_bounds_is_found_in_its_group_of_rows(tmp_path: Path) -> None:
    encoder = Encoder(KEY)
    first = Random(0)
    records = [some(first, seq) for seq in range(2000)]
    made = [encoder.encode_pages([page(records)])] * 66 + [encoder.encode([some(first, 5000)])]
    file = staged(tmp_path, made, engine.write_segment)
    groups = rows(f"SELECT DISTINCT row_group_id, row_group_num_rows FROM parquet_metadata('{file}') ORDER BY ALL")
    assert groups == [(0, 132_000), (1, 1)]
    assert rows(f"SELECT seq FROM '{file}' WHERE seq >= 2000") == [(5000,)]
    assert rows(f"SELECT count(*) FROM '{file}' WHERE seq < 2000") == [(132_000,)]


def test_a_segment_may_have_no_rows(tmp_path: Path) -> None:
    file = staged(tmp_path, [], engine.write_segment)
    assert rows(f"SELECT count(*) FROM '{file}'") == [(0,)]
    assert [name for name, *_ in rows(f"DESCRIBE FROM '{file}'")] == list(COLUMNS)


def test_a_part_of_a_batch_is_written_as_such(tmp_path: Path) -> None:
    records = [copied(Random(seq), seq) for seq in range(40)]
    encoder = Encoder(KEY)
    part = encoder.encode(records).slice(5, 30)
    ours, theirs = staged(tmp_path / "a", [part], engine.write_segment), staged(tmp_path / "b", [part], None)
    assert rows(f"FROM '{ours}'") == rows(f"FROM '{theirs}'")


@pytest.mark.parametrize(("write", "name"), [(engine.write_segment, "engine"), (None, "database")])
def test_both_planes_records_stand_in_a_segment_in_their_order(tmp_path: Path, write: Any, name: str) -> None:
    random = Random(3)
    ring = Ring(1000)
    writer = Writer(JournalConfig(path=str(tmp_path / name)), BOOT, ring, [KEY], write)
    ring.append(copied(random, 0))
    ring.extend(page([some(random, seq) for seq in range(1, 9)]))
    ring.append(copied(random, 9))
    ring.extend(page([some(random, seq) for seq in range(10, 12)]))
    writer.turn(1.0, closing=True)
    writer.release()
    (file,) = (tmp_path / name).glob("date=*/hour=*/*.parquet")
    assert rows(f"SELECT seq FROM '{file}'") == [(seq,) for seq in range(12)]
    assert rows(f"SELECT decode(value) FROM parquet_kv_metadata('{file}') WHERE decode(key) = 'turnout.dropped'") == [
        (json.dumps(dict.fromkeys(("ring_full", *writer.dropped), 0)),)
    ]


@pytest.mark.parametrize(
    ("path", "number", "cause"),
    [("/dev/full", errno.ENOSPC, "no_space"), ("gone/x.parquet", errno.ENOENT, "io_error"), (".", errno.EISDIR, None)],
)
def test_what_a_disk_refuses_is_the_systems_own_error(
    tmp_path: Path, path: str, number: int, cause: str | None
) -> None:
    columns = [("seq", "BIGINT", None)]
    with pytest.raises(OSError, match=r"\w") as failed:
        engine.write_segment(tmp_path / path, columns, list(batches(0)), {})
    assert failed.value.errno == number
    assert cause_of(failed.value) == (cause or "io_error")


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(segments_module, "sync", fail)
    with pytest.raises(OSError, match="broken"):
        staged(tmp_path, [], engine.write_segment)
    assert list((tmp_path / segments_module.STAGING).iterdir()) == []


def test_columns_of_other_types_are_refused(tmp_path: Path) -> None:
    batch = RecordBatch.from_pydict({"seq": Array([1], DataType.int32())})
    for kind, own, problem in (
        ("BIGINT", None, "Int64"),
        ("VARCHAR", None, "Text"),
        ("NUMBER", None, "NUMBER"),
        ("BIGINT", 3, "another type"),
        ("VARCHAR", 3, "another type"),
    ):
        with pytest.raises(ValueError, match=problem):
            engine.write_segment(tmp_path / "x", [("seq", kind, own)], [batch], {})
