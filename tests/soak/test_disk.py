"""A process that was started with it is lied to, of the store and the journal and of nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.disk import Disk, Lie

LOOK = """
import os, sys, time
store, journal, other = sys.argv[1:]
def tried(look):
    began = time.monotonic()
    try:
        look()
    except OSError as error:
        return error.strerror
    return "slow" if time.monotonic() - began > 0.25 else "fine"
def append(path):
    with open(path, "ab", 0) as file:
        file.write(b"x")
kept = open(store + "/file", "rb", 0)
for line in sys.stdin:
    looks = (
        lambda: open(store + "/file", "rb").close(), lambda: kept.read(1), lambda: os.listdir(store),
        lambda: append(journal + "/file"), lambda: open(journal + "/file", "rb").read(),
        lambda: append(other + "/file"),
    )
    print(*map(tried, looks), sep="|", flush=True)
"""
EIO, ENOSPC = os.strerror(5), os.strerror(28)


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    found = [tmp_path / name for name in ("store", "journal", "store-and-journal")]
    for place in found:
        place.mkdir()
        (place / "file").write_bytes(b"content")
    return found


def test_each_lie_is_told_of_its_place_alone(places: list[Path], tmp_path: Path) -> None:
    disk = Disk(tmp_path, places[0], places[1])
    if not disk.lies:
        pytest.skip("no C compiler")
    command = [sys.executable, "-c", LOOK, *map(str, places)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | disk.environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def said() -> list[str]:
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return process.stdout.readline().rstrip().split("|")  # type: ignore[union-attr]

        fine = ["fine"] * 6
        assert said() == fine
        with disk.lying(Lie.BROKEN):
            assert said() == [EIO] * 3 + ["fine"] * 3
        with disk.lying(Lie.FULL):
            assert said() == [*["fine"] * 3, ENOSPC, "fine", "fine"]
        with disk.lying(Lie.SLOW, 0.3):
            assert said()[:3] == ["slow"] * 3
        assert said() == fine
        process.stdin.close()
