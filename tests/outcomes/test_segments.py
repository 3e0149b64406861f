"""Files of outcomes: whole, with the documented columns, whoever writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.outcomes.intakes import NOW_US
from turnout_server.journal.boot import Boot
from turnout_server.outcomes.inbox import Waiting
from turnout_server.outcomes.reading import query
from turnout_server.outcomes.schema import COLUMNS
from turnout_server.outcomes.segments import STAGING, OutcomeFiles, batch

BOOT = Boot("gw", "692937a000c0ffee")
ROWS = [
    Waiting(1, "a", b"u" * 16, "key", None, NOW_US - 5, "order", 2.5, NOW_US, "gw", "692937a000c0ffee"),
    Waiting(2, "b", None, None, "r-1", NOW_US - 4, "click", 1.0, NOW_US + 1, "other", "0"),
]


def writers() -> list[Any]:
    """Return what may write a file: DuckDB, and the engine where it is installed."""
    try:
        from turnout_engine import write_segment
    except ImportError:
        return [None]
    return [None, write_segment]


@pytest.mark.parametrize("write", writers())
def test_every_writer_makes_the_documented_columns_of_the_same_rows(tmp_path: Path, write: Any) -> None:
    files = OutcomeFiles(tmp_path, BOOT, write)
    place = files.place(NOW_US)
    assert not files.has(place)
    files.write([batch(ROWS[:1]), batch(ROWS[1:])], place, "gw")
    assert files.has(place)
    assert place == "outcomes/date=2026-11-18/hour=11/gw-692937a000c0ffee-0.parquet"
    file = tmp_path / place
    described = duckdb.sql(f"DESCRIBE FROM read_parquet('{file}', hive_partitioning = false)").fetchall()
    types = {name: kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ") for name, kind, *_ in described}
    assert types == dict(COLUMNS)
    micros = "* EXCLUDE (date, hour) REPLACE (epoch_us(ts) AS ts, epoch_us(ingested) AS ingested)"
    found = query(tmp_path, f"SELECT {micros} FROM outcomes ORDER BY seq")
    expected = [{**row._asdict(), "schema": 1, "source": "service"} for row in ROWS]
    assert [dict(zip(found.columns, row, strict=True)) for row in found.rows] == expected


def test_files_of_a_boot_have_numbers(tmp_path: Path) -> None:
    files = OutcomeFiles(tmp_path, BOOT)
    names = [Path(files.place(NOW_US)).name for _ in range(2)]
    assert names == ["gw-692937a000c0ffee-0.parquet", "gw-692937a000c0ffee-1.parquet"]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(path: Path, *_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        OutcomeFiles(tmp_path, BOOT, fail).write([batch(ROWS)], "outcomes/date=2026-11-18/hour=11/x.parquet", "gw")
    assert list((tmp_path / STAGING).iterdir()) == []
    assert query(tmp_path, "FROM outcomes").rows == []
