"""Counters that outlive the process."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from turnout_server.journal.boot import BOOTS
from turnout_server.journal.counters import CLOSED, OFFERED, SIZE, CounterFile, counters_of


def test_a_counter_file_is_private_and_has_its_blocks(tmp_path: Path) -> None:
    counters = CounterFile(tmp_path, "gw-1")
    counters.cells[OFFERED], counters.cells[CLOSED] = 2**40, 1
    counters.close()
    file = tmp_path / BOOTS / "gw-1"
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_size) == (0o600, SIZE)
    assert file.stat().st_blocks * 512 >= SIZE
    assert file.read_bytes()[:16] == b"TURNOUT1" + (2**40).to_bytes(8, "little")


def test_another_file_is_no_counter_file(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(bytes(SIZE))
    with pytest.raises(ValueError, match="not a counter file"):
        counters_of(tmp_path / "other")
