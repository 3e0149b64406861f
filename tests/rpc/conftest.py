"""Every test of a server runs on both transports."""

from __future__ import annotations

import pytest

from tests.rpc import toy
from turnout_server.config import TransportName


@pytest.fixture(params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TransportName:
    """The transport that `toy.serving` serves on."""
    monkeypatch.setattr(toy, "transport", request.param)
    name: TransportName = request.param
    return name
