"""Spark reads the same files, and finds in them what DuckDB does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import spark as sparks
from tests.journal.journals import OTHER_BOOT, row, write_segment
from turnout_server.journal.reading import query


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with sparks.running(tmp_path_factory.mktemp("warehouse")) as session:
        yield session


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    write_segment(tmp_path, [row(seq, unit=bytes([seq]) * 16, propensity=0.1 * seq) for seq in range(5)])
    write_segment(tmp_path, [row(5, route=None, version=2)], n=1, folder="date=2026-11-28/hour=07")
    write_segment(tmp_path, [row(0, copy_of=0, shadow_tau=0.5, shadow_top1=True)], boot=OTHER_BOOT)
    (tmp_path / ".boots").mkdir()
    (tmp_path / ".boots/x").write_bytes(b"x")
    (tmp_path / ".staging").mkdir()
    (tmp_path / ".staging/x.parquet").write_bytes(b"half of it")
    (tmp_path / "audit.jsonl").write_text("{}\n")
    return tmp_path


@pytest.mark.filterwarnings("ignore")
def test_spark_and_duckdb_find_the_same(spark: Any, journal: Path) -> None:
    frame = spark.read.option("pathGlobFilter", "*.parquet").parquet(str(journal))
    frame.createOrReplaceTempView("records")
    for sql in (
        "SELECT count(*), count(route), sum(took_us), min(seq), max(seq) FROM records",
        "SELECT boot, seq, date, CAST(hour AS INT), lower(hex(unit)), CAST(ts AS DATE) FROM records",
        "SELECT boot, seq, route, version, propensity, copy_of, shadow_tau, shadow_top1 FROM records",
    ):
        ours, theirs = query(journal, sql).rows, [tuple(found) for found in spark.sql(sql).collect()]
        assert sorted(theirs, key=repr) == sorted(ours, key=repr), sql
