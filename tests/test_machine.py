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
