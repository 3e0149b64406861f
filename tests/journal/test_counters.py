"""Counters that outlive the process."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from turnout_server.journal.boot import BOOTS
from turnout_server.journal.counters import CLOSED, OFFERED, SIZE, CounterFile, counters_of, in_memory


def test_a_counter_file_is_private_and_has_its_blocks(tmp_path: Path) -> None:
    counters = CounterFile(tmp_path, "gw-1")
    cells = in_memory()
    cells[OFFERED], cells[CLOSED] = 2**40, 1
    counters.store(cells)
    counters.close()
    file = tmp_path / BOOTS / "gw-1"
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_size) == (0o600, SIZE)
    assert file.stat().st_blocks * 512 >= SIZE
    assert file.read_bytes()[:16] == b"TURNOUT1" + (2**40).to_bytes(8, "little")


def test_counts_survive_a_file_that_was_cut_off(tmp_path: Path) -> None:
    counters, cells = CounterFile(tmp_path, "gw-1"), in_memory()
    file = tmp_path / BOOTS / "gw-1"
    os.truncate(file, 0)
    cells[OFFERED] = 7
    counters.store(cells)
    assert (counters_of(file).offered, counters.is_gone) == (7, False)
    file.unlink()
    assert counters.is_gone
    counters.close()


def test_another_file_is_no_counter_file(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(bytes(SIZE))
    with pytest.raises(ValueError, match="not a counter file"):
        counters_of(tmp_path / "other")
