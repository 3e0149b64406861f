"""Every test of a server runs on every data plane that there is."""

from __future__ import annotations

import importlib.util

import pytest

from tests.rpc import toy

DATA_PLANES = ["python"]
if importlib.util.find_spec("turnout_engine") is not None:
    DATA_PLANES.append("engine")


@pytest.fixture(params=DATA_PLANES)
def data_plane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The data plane that `toy.serving` serves on."""
    monkeypatch.setattr(toy, "data_plane", request.param)
    return str(request.param)
