"""An error of ONNX Runtime's is shown in its own words, whoever raised it."""

from __future__ import annotations

from pathlib import Path

import pytest

from turnout_server.onnx.said import what_was_said


@pytest.mark.parametrize(
    "text",
    [
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code\nreturned",
        "Non-zero status code returned (ONNX Runtime's code 6)",
    ],
)
def test_both_planes_show_the_same(text: str) -> None:
    assert what_was_said(RuntimeError(text)) == "Non-zero status code returned"


def test_the_place_of_the_graph_is_left_out(tmp_path: Path) -> None:
    said = what_was_said(RuntimeError(f"Load model from {tmp_path}/model.onnx failed"), tmp_path)
    assert said == "Load model from model.onnx failed"
    assert what_was_said(RuntimeError("/usr/lib/x/ext.so: no"), None, Path("/usr/lib/x")) == "ext.so: no"


def test_what_a_graph_has_in_its_names_cannot_write_on_a_terminal() -> None:
    assert what_was_said(RuntimeError("node \x1b[31mred")) == "node ?[31mred"


def test_an_error_without_words_is_told_by_its_class() -> None:
    assert what_was_said(KeyError()) == "KeyError"


def test_no_text_is_longer_than_a_paragraph() -> None:
    assert len(what_was_said(RuntimeError("x" * 10_000))) < 700
