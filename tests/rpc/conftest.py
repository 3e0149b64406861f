"""Every test of a server runs on every transport that there is."""

from __future__ import annotations

import importlib.util

import pytest

from tests.rpc import toy
from turnout_server.config import TransportName

TRANSPORTS = ["native", "grpcio"]
if importlib.util.find_spec("turnout_engine") is not None:
    TRANSPORTS.append("engine")


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TransportName:
    """The transport that `toy.serving` serves on."""
    monkeypatch.setattr(toy, "transport", request.param)
    name: TransportName = request.param
    return name
