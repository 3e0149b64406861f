"""Segments are whole or not there, and say what they hold."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.journal.journals import write_counters
from tests.journal.records import ARRIVED_NS, KEY, record
from turnout_server.journal.boot import BOOTS, Boot
from turnout_server.journal.columns import Encoder
from turnout_server.journal.schema import COLUMNS, SEGMENTS, STAGING
from turnout_server.journal.segments import Footer, SegmentFiles, cause_of, sweep


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(errno.EDQUOT, "quota"), "no_space"),
        (OSError(errno.EPERM, "no"), "no_permission"),
        (RuntimeError('failed: {"errno":"28"}'), "no_space"),
        (RuntimeError("Cannot open file: Read-only file system"), "no_permission"),
        (RuntimeError("whatever"), "io_error"),
    ],
)
def test_why_a_segment_could_not_be_written(error: Exception, cause: str) -> None:
    assert cause_of(error) == cause


BOOT = Boot("gw-1", "692937a000c0ffee")
FOOTER = Footer(BOOT, 3, 5, 6, 2, 9, {"ring_full": 4}, False)


def staged(journal: Path) -> tuple[SegmentFiles, Path]:
    files = SegmentFiles(journal, BOOT)
    return files, files.stage([Encoder(KEY).encode([record(5), record(6)])], FOOTER)


def rows(query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as database:
        return database.execute(query).fetchall()


def test_a_segment_is_not_seen_before_it_is_finished(tmp_path: Path) -> None:
    files, aside = staged(tmp_path)
    assert list(tmp_path.glob(SEGMENTS)) == []
    assert aside.parent == tmp_path / STAGING
    size = files.finish(aside, ARRIVED_NS // 1000)
    (shown,) = tmp_path.glob(SEGMENTS)
    assert str(shown.relative_to(tmp_path)) == "date=2025-11-28/hour=06/gw-1-692937a000c0ffee-3.parquet"
    assert shown.stat().st_size == size
    assert list((tmp_path / STAGING).iterdir()) == []


def test_a_footer_says_what_is_in_the_segment(tmp_path: Path) -> None:
    _, aside = staged(tmp_path)
    said = dict(rows(f"SELECT decode(key), decode(value) FROM parquet_kv_metadata('{aside}')"))
    assert {name: said[name] for name in said if name.startswith("turnout.")} == {
        "turnout.schema": "1",
        "turnout.instance": "gw-1",
        "turnout.boot": "692937a000c0ffee",
        "turnout.segment": "3",
        "turnout.first_seq": "5",
        "turnout.last_seq": "6",
        "turnout.written": "2",
        "turnout.dropped": '{"ring_full": 4}',
        "turnout.offered": "9",
        "turnout.forgotten": "0",
        "turnout.closed": "false",
    }


def test_all_columns_are_there_in_order_with_their_types(tmp_path: Path) -> None:
    _, aside = staged(tmp_path)
    found = rows(f"SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet('{aside}'))")
    assert dict(found) == {**COLUMNS, "ts": "TIMESTAMP WITH TIME ZONE"}
    assert [name for name, _ in found] == list(COLUMNS)
    own = rows(f"SELECT DISTINCT schema, instance, boot FROM '{aside}'")
    assert own == [(1, "gw-1", "692937a000c0ffee")]
    assert rows(f"SELECT DISTINCT compression FROM parquet_metadata('{aside}')") == [("ZSTD",)]


def test_what_only_some_records_have_is_there_wherever_it_stands(tmp_path: Path) -> None:
    encoder = Encoder(KEY)
    batches = [encoder.encode([record(5)]), encoder.encode([record(6), record(7)._replace(principal="ann", copy_of=5)])]
    aside = SegmentFiles(tmp_path, BOOT).stage(batches, FOOTER)
    found = rows(f"SELECT seq, principal, copy_of, override FROM '{aside}' ORDER BY seq")
    assert found == [(5, None, None, None), (6, None, None, None), (7, "ann", 5, None)]


def test_a_segment_may_have_no_rows(tmp_path: Path) -> None:
    files = SegmentFiles(tmp_path, BOOT)
    aside = files.stage([], FOOTER._replace(written=0, first_seq=-1, last_seq=-1, closed=True))
    assert rows(f"SELECT count(*) FROM '{aside}'") == [(0,)]


def test_a_journals_path_may_have_quotes_in_it(tmp_path: Path) -> None:
    journal = tmp_path / "it's"
    journal.mkdir()
    _, aside = staged(journal)
    assert aside.exists()


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr("turnout_server.journal.segments.sync", fail)
    with pytest.raises(OSError, match="broken"):
        staged(tmp_path)
    assert list((tmp_path / STAGING).iterdir()) == []


def test_sweeping_removes_what_dead_boots_left_and_nothing_else(tmp_path: Path) -> None:
    staging = tmp_path / STAGING
    staging.mkdir()
    boots = {"dead": "0" * 16, "alive": "1" * 16, "unknown": "2" * 16}
    for state, boot in boots.items():
        (staging / f"gw-1-{boot}-0.parquet").write_bytes(b"half")
        if state != "unknown":
            write_counters(tmp_path, offered=1, written=0, segments=0, boot=boot)
    (staging / "forget-x.parquet").write_bytes(b"half")
    with (tmp_path / BOOTS / f"gw-1-{boots['alive']}").open("rb") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        sweep(tmp_path)
    left = sorted(file.name for file in staging.iterdir())
    assert left == ["forget-x.parquet", f"gw-1-{boots['alive']}-0.parquet", f"gw-1-{boots['unknown']}-0.parquet"]


def test_sweeping_where_there_is_nothing_is_no_error(tmp_path: Path) -> None:
    sweep(tmp_path)
