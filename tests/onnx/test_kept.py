"""What others get to see of a child's words."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.onnx.graphs import linear
from tests.onnx.test_children import LONG_S, MEMORY_BYTES, tried
from turnout_server.onnx.children import Children
from turnout_server.onnx.conversation import Line, Refused
from turnout_server.vocabulary.errors import InvalidModelError


def test_a_problem_is_told_in_short_and_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may name what is in the graph, and names there may be anything."""
    monkeypatch.setattr(Line, "hear", lambda self, until: Refused("\x1b[31m\nü" + "x" * 10_000))
    with (
        contextlib.closing(Children("binding", LONG_S, MEMORY_BYTES)) as children,
        pytest.raises(InvalidModelError) as raised,
    ):
        tried(children, tmp_path, linear())
    assert raised.value.message.startswith("?[31m?üxxx")
    assert len(raised.value.message) < 1100
