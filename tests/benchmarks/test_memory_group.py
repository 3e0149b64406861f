"""A group that is bounded, and a gateway in it that is attacked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import memory_group as module
from benchmarks.attack.command import shown, start
from benchmarks.attack.wire import ATTACKS
from benchmarks.memory_group import MemoryGroup, NoMemoryGroupError, memory_group

OPTED_IN = "TURNOUT_TEST_MEMORY_GROUP"
GIB = 1 << 30
WORST = ("silent streams", "refused streams")
"""Those that take the most."""


def test_a_group_has_its_bound_and_tells_its_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY", tmp_path)
    folder = tmp_path / f"turnout-{os.getpid()}"
    monkeypatch.setattr(Path, "rmdir", lambda self: None)  # files are in the way, which are none in a real one
    with memory_group(123) as group:
        assert (folder / "memory.limit_in_bytes").read_text() == "123"
        (folder / "memory.max_usage_in_bytes").write_text("77\n")
        (folder / "memory.failcnt").write_text("5\n")
        assert (group.peak(), group.peak(), group.was_full()) == (77, 0, 5)
        group.enter()
        assert (folder / "cgroup.procs").read_text() == str(os.getpid())


def test_where_none_can_be_made_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY", tmp_path / "nowhere")
    with pytest.raises(NoMemoryGroupError, match="no memory cgroup can be made"), memory_group(GIB):
        pass


@pytest.fixture
def gib() -> Iterator[MemoryGroup]:
    """A group of one GiB; the test is skipped where there is none."""
    if not os.environ.get(OPTED_IN):
        pytest.skip(f"attacks take long, and want a quiet machine: {OPTED_IN}=1")
    with contextlib.ExitStack() as stack:
        try:
            group = stack.enter_context(memory_group(GIB))
        except NoMemoryGroupError as error:
            pytest.skip(str(error))
        yield group


@pytest.mark.parametrize("name", WORST)
def test_a_gateway_within_a_gib_serves_its_neighbour_while_it_is_attacked(
    gib: MemoryGroup, tmp_path: Path, name: str
) -> None:
    pytest.importorskip("turnout_engine")
    gateway, address, metrics = start("engine", tmp_path / "log", gib)
    try:
        fared = shown(name, ATTACKS[name], None, gateway, address, metrics, 5.0, gib)
        assert gateway.poll() is None
        assert fared.errors == "0"
        assert gib.was_full() == 0
    finally:
        gateway.terminate()
        gateway.wait(60)
