"""Which files belong to a graph."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.onnx import graphs
from turnout_server.onnx.files import files_of
from turnout_server.store.manifest import MODEL_FILE
from turnout_server.vocabulary.errors import InvalidModelError


def with_data_at(directory: Path, location: str) -> Path:
    """Save a graph whose weights are said to be at *location*."""
    model = graphs.linear()
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    path = directory / "graph.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_graph_alone_becomes_the_versions_model(tmp_path: Path) -> None:
    path = graphs.saved(tmp_path, graphs.linear()) / MODEL_FILE
    assert files_of(path) == {MODEL_FILE: path}


def test_weights_beside_it_come_along(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/weights").write_bytes(bytes(8))
    path = with_data_at(tmp_path, "data/weights")
    assert files_of(path) == {MODEL_FILE: path, "data/weights": tmp_path / "data/weights"}


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("/etc/passwd", "outside the model's directory"),
        ("../weights", "outside the model's directory"),
        ("", "outside the model's directory"),
        ("gone", "is not beside it"),
        (MODEL_FILE, "as the graph itself will be"),
    ],
)
def test_weights_elsewhere_are_refused(tmp_path: Path, location: str, problem: str) -> None:
    (tmp_path / MODEL_FILE).touch()
    with pytest.raises(InvalidModelError, match=problem):
        files_of(with_data_at(tmp_path, location))


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(InvalidModelError, match="not an ONNX model"):
        files_of(path)
