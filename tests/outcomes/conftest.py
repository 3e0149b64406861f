"""A gateway that takes outcomes for each test, with clocks that only the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.outcomes.intakes import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A gateway that takes outcomes below `tmp_path / "journal"`."""
    made = World(tmp_path / "journal")
    yield made
    made.die()
