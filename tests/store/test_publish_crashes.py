"""Publishers are killed, raced and watched; the store is never wrong."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import turnout_server
from turnout_server.store.manifest import Manifest
from turnout_server.store.store import DirectoryStore

Add = Callable[..., Manifest]
TABLES = (None, "first: table\n", "second: table\n")
KILLS = 220
STRIDE = 3


@contextmanager
def publisher(root: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """A publisher of its own process, single-threaded so that it may fork."""
    source = root.parent / "source.bin"
    source.write_bytes(bytes(range(256)) * 16)
    script = Path(__file__).with_name("crashing_publisher.py")
    search = os.pathsep.join([str(Path(turnout_server.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, str(script), str(root), str(source), *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": search},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen[str], command: str) -> None:
    """Send a command without waiting for the answer."""
    assert process.stdin is not None
    process.stdin.write(f"{command}\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> str:
    """Wait for the answer to the oldest command."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


class Inspector:
    """Looks at a store again and again, and complains about whatever is not whole."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = DirectoryStore(root)
        self.verified: set[int] = set()
        self.cut_short = 0
        """Deaths in the middle of publishing: they left a workspace behind."""

    def begin_again(self) -> None:
        """Empty the store."""
        shutil.rmtree(self.root)
        self.root.mkdir()
        self.store, self.verified = DirectoryStore(self.root), set()

    def inspect(self) -> None:
        """Check what a reader can see; versions seen before are not verified again."""
        seen = self.store.snapshot()
        assert not seen.problems
        assert not seen.unreadable
        assert seen.routes_text in TABLES
        assert seen.routes_problem is None
        if "price" not in seen.models:
            return
        price = seen.models["price"]
        for version in set(price.versions) - self.verified:
            assert self.store.verify("price", version).version == version
            self.verified.add(version)
        assert set(price.versions) == self.verified
        assert set(price.labels.values()) <= self.verified

    def workspaces(self) -> list[Path]:
        """What is being staged, or was left there."""
        return [path for path in (self.root / ".staging").glob("*") if path.is_dir()]

    def inspect_after_a_death(self, add: Add) -> None:
        """Check that nothing is half, that the next publisher can work, and that it leaves the staging area clean."""
        self.inspect()
        self.cut_short += bool(self.workspaces())
        before = max(self.verified, default=0)
        version = add(labels=["champion"]).version
        assert version > before
        assert self.store.labels("price") == {"champion": version}
        assert self.workspaces() == []
        self.inspect()
        for old in self.verified - {version}:
            shutil.rmtree(self.root / f"models/price/{old}")
        self.verified = {version}


@pytest.fixture
def inspector(root: Path, monkeypatch: pytest.MonkeyPatch) -> Inspector:
    """An inspector of a store that is there but empty, in a process that does not wait for the disk."""
    root.mkdir()
    monkeypatch.setattr(os, "fsync", lambda _: None)
    return Inspector(root)


def test_a_publisher_killed_before_any_of_its_steps_leaves_no_half_version(
    root: Path, inspector: Inspector, add: Add
) -> None:
    """Deaths are spread evenly over all lines of code that publishing runs; every other one is in a new store."""
    deaths = 0
    with publisher(root, "--no-sync") as process:
        for step in range(1, 3000, STRIDE):
            if step % 6 == 1:
                inspector.begin_again()
            ask(process, f"step {step}")
            outcome = answer(process)
            inspector.inspect_after_a_death(add)
            if outcome != "killed":
                break
            deaths += 1
    assert outcome == "done"
    assert deaths > 200


def test_a_publisher_killed_at_random_leaves_no_half_version(root: Path, inspector: Inspector, add: Add) -> None:
    delays = random.Random(20261123)
    with publisher(root, "--no-sync") as process:
        for _ in range(KILLS):
            ask(process, f"kill {delays.uniform(0.0, 0.02)}")
            assert answer(process) == "killed"
            inspector.inspect_after_a_death(add)
    assert inspector.cut_short > 0


def test_publishers_at_once_each_get_a_version_and_readers_see_only_whole_ones(
    root: Path, inspector: Inspector
) -> None:
    each = 12
    with publisher(root) as first, publisher(root) as second, publisher(root) as third:
        processes = (first, second, third)
        for process in processes:
            ask(process, f"publish {each}")
        while len(inspector.verified) < each * len(processes):
            assert all(process.poll() is None for process in processes)
            inspector.inspect()
        numbers = [int(number) for process in processes for number in answer(process).split()]
    assert sorted(numbers) == list(range(1, each * len(processes) + 1))
    assert inspector.store.snapshot() == DirectoryStore(root).snapshot()
