"""Where the engine is not installed."""

from __future__ import annotations

import sys

import pytest

from turnout_server.config import LimitsConfig
from turnout_server.transport.engine import EngineTransport
from turnout_server.vocabulary.errors import ConfigurationError


async def test_an_engine_that_is_not_installed_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "turnout_engine", None)
    with pytest.raises(ConfigurationError, match="turnout-engine, which is not installed"):
        EngineTransport({}, LimitsConfig())
