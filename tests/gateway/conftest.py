"""What the tests of the gateway share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _stores_need_not_survive_a_crash_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk is most of what publishing costs."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
