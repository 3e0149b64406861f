"""A boot's counters outlive it."""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path

import pytest

from turnout_server.journal import counters as counters_module
from turnout_server.journal.boot import BOOTS
from turnout_server.journal.counters import (
    CLOSED,
    DROPPED,
    OFFERED,
    SEGMENTS,
    SIZE,
    WRITTEN,
    Cells,
    CounterFile,
    counters_of,
    settle,
)
from turnout_server.journal.schema import CAUSES


def test_a_counter_file_is_private_and_has_its_blocks(tmp_path: Path) -> None:
    counters = CounterFile(tmp_path, "gw-1")
    cells = Cells().view
    cells[OFFERED], cells[CLOSED] = 2**40, 1
    counters.store(cells)
    counters.close()
    file = tmp_path / BOOTS / "gw-1"
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_size) == (0o600, SIZE)
    assert file.stat().st_blocks * 512 >= SIZE
    assert file.read_bytes()[:16] == b"TURNOUT1" + (2**40).to_bytes(8, "little")


def test_counts_survive_a_file_that_was_cut_off(tmp_path: Path) -> None:
    counters, cells = CounterFile(tmp_path, "gw-1"), Cells().view
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


def test_each_counter_is_read_from_where_it_was_stored(tmp_path: Path) -> None:
    counters, cells = CounterFile(tmp_path, "gw-1"), Cells().view
    for number, place in enumerate([OFFERED, WRITTEN, SEGMENTS, CLOSED, *range(DROPPED, DROPPED + len(CAUSES))], 1):
        cells[place] = number
    counters.store(cells)
    counters.close()
    file = tmp_path / BOOTS / "gw-1"
    said = counters_of(file)
    assert (said.offered, said.written, said.segments, said.is_closed) == (1, 2, 3, True)
    assert said.dropped == dict(zip(CAUSES, range(5, 11), strict=True))
    # The layout is a contract with whoever reads it later.
    assert struct.unpack_from("<8s10Q", file.read_bytes()) == (b"TURNOUT1", *range(1, 11))


def test_its_owner_is_seen_to_live(tmp_path: Path) -> None:
    counters = CounterFile(tmp_path, "gw-1")
    assert counters_of(tmp_path / BOOTS / "gw-1").is_running
    counters.close()
    assert not counters_of(tmp_path / BOOTS / "gw-1").is_running


def test_one_that_cannot_be_made_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="full"):
        CounterFile(tmp_path, "gw-1")
    monkeypatch.undo()
    assert list((tmp_path / BOOTS).iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    CounterFile(tmp_path, "gw-1").close()


@pytest.mark.parametrize("size", [0, 8, 40])
def test_a_file_that_was_cut_off_is_no_counter_file(size: int, tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"TURNOUT1".ljust(size, b"\0")[:size])
    with pytest.raises(ValueError, match="not a counter file"):
        counters_of(tmp_path / "short")


def test_what_was_counted_after_the_file_was_stored_is_in_shared_memory(tmp_path: Path) -> None:
    counters, cells = CounterFile(tmp_path, "gw-1"), Cells("gw-1")
    cells.view[OFFERED] = 7
    counters.store(cells.view)
    cells.view[OFFERED] = 9
    counters.close()  # killed: nobody has closed the cells
    file = tmp_path / BOOTS / "gw-1"
    said = counters_of(file)
    assert (said.offered, said.is_closed, said.is_exact) == (9, False, True)
    settle(file)
    assert counters_of(file).offered == 9
    cells.close()


def test_without_that_memory_the_counts_are_not_said_to_be_the_last(tmp_path: Path) -> None:
    counters, cells = CounterFile(tmp_path, "gw-1"), Cells("gw-1")
    cells.view[OFFERED] = 7
    counters.store(cells.view)
    counters.close()
    cells.close()
    said = counters_of(tmp_path / BOOTS / "gw-1")
    assert (said.offered, said.is_exact) == (7, False)


def test_a_running_boots_memory_is_left_alone(tmp_path: Path, memory_of_its_own: Path) -> None:
    counters, cells = CounterFile(tmp_path, "gw-1"), Cells("gw-1")
    settle(tmp_path / BOOTS / "gw-1")
    assert [file.name for file in memory_of_its_own.iterdir()] == ["turnout-journal-gw-1"]
    counters.close()
    cells.close()
    assert list(memory_of_its_own.iterdir()) == []


def test_where_nothing_can_be_shared_memory_of_our_own_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters_module, "SHARED", tmp_path / "nowhere")
    cells = Cells("gw-1")
    cells.view[OFFERED] = 3
    cells.close()
    assert cells.view[OFFERED] == 3
