"""What this process may take of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from turnout_server import machine


def test_a_container_has_what_its_limit_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_GROUP_LIMITS", (tmp_path / "nowhere", tmp_path / "memory.max"))
    whole = machine.memory_bytes()
    assert whole > 1 << 28
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory_bytes() == whole
    (tmp_path / "memory.max").write_text("67108864\n")
    assert machine.memory_bytes() == 67108864


def test_what_is_only_cached_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, used, statistics, memory = (tmp_path / name for name in ("max", "current", "stat", "meminfo"))
    monkeypatch.setattr(machine, "_GROUP_LIMITS", (limit, tmp_path / "nowhere"))
    monkeypatch.setattr(machine, "_GROUP_USED", used)
    monkeypatch.setattr(machine, "_GROUP_STATISTICS", statistics)
    monkeypatch.setattr(machine, "_MEMORY", memory)
    memory.write_text("MemTotal: 4096 kB\nMemAvailable:   2048 kB\n")
    assert machine.available_bytes() == 2048 * 1024
    limit.write_text("1000000\n")
    used.write_text("900000\n")
    statistics.write_text("anon 500000\ninactive_file 300000\n")
    assert machine.available_bytes() == 400_000
    used.write_text("2000000\n")
    assert machine.available_bytes() == 0
    limit.write_text("max\n")
    assert machine.available_bytes() == 2048 * 1024


@pytest.mark.parametrize("groups", ["4:cpu,memory:/a/b\n3:pids:/c\n", "0::/a/b\n", "4:memory:/a/b/../x\n0::/a/b\n"])
def test_a_service_has_what_the_groups_say_that_it_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str
) -> None:
    own = tmp_path / "own"
    own.write_text(groups)
    monkeypatch.setattr(machine, "_GROUP_LIMITS", ())
    monkeypatch.setattr(machine, "_GROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN", own)
    folder, name = (tmp_path / "memory", "memory.limit_in_bytes") if "cpu" in groups else (tmp_path, "memory.max")
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b" / name).write_text("100000000\n")
    assert machine.memory_bytes() == 100000000
    (folder / "a" / name).write_text("90000000\n")
    assert machine.memory_bytes() == 90000000
    (folder / name).write_text("7\n")  # the whole machine's is no group's
    assert machine.memory_bytes() == 90000000
    own.write_text("no such line\n\n")
    assert machine.memory_bytes() > 1 << 28
