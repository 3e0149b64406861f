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
