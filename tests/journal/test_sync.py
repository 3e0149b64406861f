"""What is to outlast a power cut is brought to the disk, and so is the name that it is found by."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.journal.records import ARRIVED_NS, KEY, record
from turnout_server.journal.boot import BOOTS, Boot
from turnout_server.journal.columns import Encoder
from turnout_server.journal.counters import CounterFile
from turnout_server.journal.keys import own_keys
from turnout_server.journal.segments import Footer, SegmentFiles
from turnout_server.journal.sync import sync

BOOT = Boot("gw-1", "692937a000c0ffee")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was brought to the disk, in that order."""
    paths: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: paths.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    )
    return paths


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "nowhere")


def test_a_segment_and_every_new_folder_above_it(tmp_path: Path, synced: list[str]) -> None:
    files = SegmentFiles(tmp_path, BOOT)
    for number in range(2):
        footer = Footer(BOOT, number, 0, 0, 1, 1, {}, False)
        files.finish(files.stage([Encoder(KEY).encode([record(0)])], footer), ARRIVED_NS // 1000)
    day = tmp_path / "date=2025-11-28"
    first, second = (tmp_path / ".staging" / f"{BOOT.name}-{number}.parquet" for number in range(2))
    assert synced == list(map(str, [first, day / "hour=06", day, tmp_path, second, day / "hour=06"]))


def test_a_key_is_on_the_disk_before_anything_is_hashed_with_it(tmp_path: Path, synced: list[str]) -> None:
    own_keys(tmp_path)
    assert synced[0].startswith(f"{tmp_path}/.key.")
    assert synced[1:] == [str(tmp_path)]
    own_keys(tmp_path)
    assert len(synced) == 2


def test_the_name_of_a_counter_file(tmp_path: Path, synced: list[str]) -> None:
    CounterFile(tmp_path, BOOT.name).close()
    assert synced == [str(tmp_path / BOOTS), str(tmp_path)]
