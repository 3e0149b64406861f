"""The data planes there are, and which of them have to answer alike. A new plane is a line here."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.e2e.conftest import environment


class Plane(NamedTuple):
    """One way to carry and answer calls."""

    name: str
    settings: tuple[str, ...]
    """What `--set` says to get it."""
    is_there: Callable[[], bool] = lambda: True
    """Whether it can be had here."""

    def __str__(self) -> str:
        return self.name


def _engine_is_there() -> bool:
    return importlib.util.find_spec("turnout_engine") is not None


PYTHON = Plane("python", ("data_plane=python",))
ENGINE = Plane("engine", ("data_plane=engine",), _engine_is_there)

PAIRS = ((PYTHON, ENGINE),)
"""The first of each is the one that is right."""


def variables() -> dict[str, str]:
    """Return what a gateway's environment needs, so that it finds the engine that the tests find."""
    spec = importlib.util.find_spec("turnout_engine")
    if spec is None or not spec.origin:
        return {}
    return {"PYTHONPATH": os.pathsep.join((environment()["PYTHONPATH"], str(Path(spec.origin).parent)))}
