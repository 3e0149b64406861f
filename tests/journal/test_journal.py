"""The whole journal, with real files, disks and deaths."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.journal.records import KEY, record
from turnout_server.config import JournalConfig
from turnout_server.journal.boot import BOOTS, Boot, identify
from turnout_server.journal.counters import counters_of
from turnout_server.journal.journal import opening
from turnout_server.journal.keys import KEY as KEY_FILE
from turnout_server.journal.ring import Ring
from turnout_server.journal.schema import SEGMENTS
from turnout_server.journal.segments import SegmentFiles
from turnout_server.journal.writer import Writer
from turnout_server.vocabulary.errors import ConfigurationError

BOOT = Boot("gw-1", "692937a000c0ffee")
CHILD = """
import os, pathlib, signal, sys
from turnout_server.journal import counters
counters.SHARED = pathlib.Path(sys.argv[2])
from tests.journal.records import record
from turnout_server.config import JournalConfig
from turnout_server.journal.boot import Boot
from turnout_server.journal.ring import Ring
from turnout_server.journal.writer import Writer
ring = Ring(1000, counters.Cells("gw-1-692937a000c0ffee"))
writer = Writer(JournalConfig(path=sys.argv[1], rotate_s=1.0), Boot("gw-1", "692937a000c0ffee"), ring, [b"k" * 16])
writer.turn(0.0)
for seq in range(700):
    ring.append(record(seq))
    if seq == 499:
        writer.turn(0.0)
        writer.turn(1.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def count_in(journal: Path) -> tuple[int, int]:
    with duckdb.connect() as database:
        query = f"SELECT count(*), count(DISTINCT (boot, seq)) FROM read_parquet('{journal}/{SEGMENTS}')"
        [(rows, different)] = database.execute(query).fetchall()
    return rows, different


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_after_a_clean_end_all_of_it_is_there(tmp_path: Path) -> None:
    with opening(JournalConfig(path=str(tmp_path)), BOOT) as journal:
        for seq in range(10):
            journal.append(record(seq))
        journal.append(record(-1))
    said = counters_of(tmp_path / BOOTS / BOOT.name)
    assert (said.offered, said.written, said.is_closed, said.is_running) == (10, 10, True, False)
    assert count_in(tmp_path) == (10, 10)
    assert journal.counts().waiting == 0


def test_after_kill_9_the_counters_are_exact_and_segments_can_be_read(tmp_path: Path, memory_of_its_own: Path) -> None:
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # the code under test, whatever is installed
    command = [sys.executable, "-c", CHILD, tmp_path, memory_of_its_own]
    ended = subprocess.run(command, capture_output=True, timeout=60, env=here)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    said = counters_of(tmp_path / BOOTS / BOOT.name)
    assert (said.offered, said.written, said.segments, said.is_closed, said.is_running) == (700, 500, 1, False, False)
    assert count_in(tmp_path) == (500, 500)


def test_a_full_disk_is_counted_and_forgotten_once_there_is_space(small_disk: Path) -> None:
    ring = Ring(100_000)
    writer = Writer(JournalConfig(path=str(small_disk), rotate_s=1.0, rotate_bytes=50_000), BOOT, ring, [KEY])
    writer.turn(0.0)
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(1 << 20))
    for seq in range(2000):
        ring.append(record(seq))
    writer.turn(1.0)
    assert writer.dropped["no_space"] > 0
    assert writer.problem
    ballast.unlink()
    for seq in range(2000, 2100):
        ring.append(record(seq))
    writer.turn(10.0)
    writer.turn(20.0, closing=True)
    assert not writer.problem
    assert writer.written + writer.dropped["no_space"] == 2100
    assert count_in(small_disk) == (writer.written, writer.written)
    writer.release()


def test_a_disk_that_became_read_only_is_a_lack_of_permission(small_disk: Path) -> None:
    ring = Ring(100)
    writer = Writer(JournalConfig(path=str(small_disk)), BOOT, ring, [KEY])
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    ring.append(record(0))
    writer.turn(0.0, closing=True)
    assert writer.dropped["no_permission"] == 1
    writer.release()


def test_appending_touches_no_file(tmp_path: Path) -> None:
    """A store into a mapped page would wait for a disk that does not answer, and the event loop with it."""
    ring = Ring(2)
    writer = Writer(JournalConfig(path=str(tmp_path)), BOOT, ring, [KEY])
    writer.turn(0.0)
    ring.append(record(0))
    assert counters_of(tmp_path / BOOTS / BOOT.name).offered == 0
    writer.store()
    assert counters_of(tmp_path / BOOTS / BOOT.name).offered == 1
    assert BOOT.name not in Path("/proc/self/maps").read_text()
    writer.release()


def test_a_folder_that_is_removed_is_made_again(tmp_path: Path) -> None:
    ring = Ring(10)
    writer = Writer(JournalConfig(path=str(tmp_path / "journal"), rotate_s=1.0), BOOT, ring)
    for seq in range(2):
        ring.append(record(seq))
        writer.turn(2.0 * seq)
        writer.turn(2.0 * seq + 1.0)
        if not seq:
            shutil.rmtree(tmp_path / "journal")
    writer.turn(9.0, closing=True)
    said = counters_of(tmp_path / "journal" / BOOTS / BOOT.name)
    assert (said.offered, said.written, said.is_closed) == (2, 2, True)
    assert count_in(tmp_path / "journal") == (1, 1)
    assert (tmp_path / "journal" / KEY_FILE).exists()
    writer.release()


def test_a_stuck_disk_holds_up_neither_callers_nor_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, free = threading.Event(), threading.Event()

    def stage(*_: object) -> Path:
        stuck.set()
        free.wait(60)
        raise OSError(5, "the disk came back, too late")

    monkeypatch.setattr(SegmentFiles, "stage", stage)
    config = JournalConfig(path=str(tmp_path), ring_records=4, rotate_s=1e-6)
    with opening(config, BOOT, close_s=0.01) as journal:
        journal.append(record(0))
        assert stuck.wait(60)
        for seq in range(1, 10):
            journal.append(record(seq))
    counts = journal.counts()
    free.set()
    assert (counts.offered, counts.dropped["ring_full"], counts.dropped["closing"]) == (10, 5, 5)
    assert counts.waiting == 0


def test_two_journals_in_one_folder_share_its_key_and_nothing_else(tmp_path: Path) -> None:
    config = JournalConfig(path=str(tmp_path))
    with opening(config, identify("a", 0)) as one, opening(config, identify("b", 0)) as other:
        one.append(record(0))
        other.append(record(0))
    assert count_in(tmp_path) == (2, 2)
    assert len((tmp_path / KEY_FILE).read_text().split()) == 1
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600


def test_a_key_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    bad = tmp_path / "key"
    bad.write_text("not hexadecimal")
    config = JournalConfig(path=str(tmp_path / "journal"), key_file=str(bad))
    with pytest.raises(ConfigurationError, match="hexadecimal"), opening(config, BOOT):
        pass


def test_raw_units_are_in_no_file(tmp_path: Path) -> None:
    with opening(JournalConfig(path=str(tmp_path)), BOOT) as journal:
        journal.append(record(0, unit="a-unit-that-is-secret"))
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert not any(b"a-unit-that-is-secret" in content for content in files)
