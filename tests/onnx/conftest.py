"""Everything about sessions is tried with both who can open them."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

from turnout_server.onnx.session import OpenSession

_ENGINE = pytest.param(
    "engine",
    marks=pytest.mark.skipif(importlib.util.find_spec("turnout_engine") is None, reason="the engine is not installed"),
)
OPENERS = ("binding", _ENGINE)


@pytest.fixture(params=OPENERS)
def open_session(request: pytest.FixtureRequest) -> OpenSession:
    opened: OpenSession = importlib.import_module(f"turnout_server.onnx.{request.param}").open_session
    return opened
