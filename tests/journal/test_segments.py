"""Finished files, and why one could not be written."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from turnout_server.journal.counters import CounterFile
from turnout_server.journal.schema import STAGING
from turnout_server.journal.segments import cause_of, sweep


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


def test_what_a_dead_boot_left_unfinished_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    dead, alive = "gw-00000000aaaaaaaa", "gw-00000000bbbbbbbb"
    CounterFile(tmp_path, dead).close()
    living = CounterFile(tmp_path, alive)
    staging = tmp_path / STAGING
    staging.mkdir()
    for name in (f"{dead}-0.parquet", f"{alive}-0.parquet", "gw-00000000cccccccc-0.parquet"):
        (staging / name).write_bytes(b"half")
    sweep(tmp_path)
    assert sorted(file.name for file in staging.iterdir()) == [f"{alive}-0.parquet", "gw-00000000cccccccc-0.parquet"]
    living.close()
