"""Boots in tests share their names, and are not to share memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from turnout_server.journal import counters


@pytest.fixture(autouse=True)
def memory_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    shared = tmp_path_factory.mktemp("memory")
    monkeypatch.setattr(counters, "SHARED", shared)
    return shared
