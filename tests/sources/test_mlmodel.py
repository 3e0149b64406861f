"""An MLflow model is read in the flavour that is the nearest to ONNX, and from nowhere but its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from turnout_server.sources.mlmodel import MLMODEL, read
from turnout_server.sources.source import Kind, SourceError


def written(folder: Path, flavours: Any, **more: Any) -> Path:
    (folder / MLMODEL).write_text(yaml.safe_dump({"flavors": flavours, **more}))
    return folder


def test_onnx_goes_before_what_has_to_be_converted(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    (tmp_path / "model.pkl").touch()
    flavours = {"python_function": {}, "sklearn": {"pickled_model": "model.pkl"}, "onnx": {"data": "model.onnx"}}
    found = read(written(tmp_path, flavours, run_id="r1"))
    assert (found.source.kind, found.source.where) == (Kind.ONNX, str(tmp_path / "model.onnx"))
    assert (found.flavour, found.run_id) == ("onnx", "r1")


@pytest.mark.parametrize(
    ("flavours", "content", "kind"),
    [
        ({"sklearn": {"pickled_model": "model.pkl"}}, b"\x80\x05", Kind.SKLEARN),
        ({"sklearn": {"pickled_model": "model.skops"}}, b"PK\x03\x04", Kind.SKOPS),
        ({"lightgbm": {"data": "model.lgb"}}, b"tree\n", Kind.LIGHTGBM),
        ({"lightgbm": {"data": "model.pkl"}}, b"\x80\x05", Kind.SKLEARN),
        ({"xgboost": {"data": "model.xgb"}}, b'{"learner":1}', Kind.XGBOOST),
    ],
)
def test_a_flavours_file_is_told_by_what_is_in_it(tmp_path: Path, flavours: Any, content: bytes, kind: Kind) -> None:
    (tmp_path / next(iter(next(iter(flavours.values())).values()))).write_bytes(content)
    assert read(written(tmp_path, flavours)).source.kind is kind


def test_pytorchs_model_is_a_file_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/model.pth").write_bytes(b"\x80\x02")
    found = read(written(tmp_path, {"pytorch": {"model_data": "data"}}))
    assert found.source == (Kind.TORCH, str(tmp_path / "data/model.pth"))


@pytest.mark.parametrize("inside", [".", "inner"])
def test_a_flavour_is_no_mlflow_model_again(tmp_path: Path, inside: str) -> None:
    (tmp_path / "inner").mkdir()
    written(tmp_path / "inner", {})
    with pytest.raises(SourceError, match=f"sklearn is at '{inside}', which is an MLflow model again"):
        read(written(tmp_path, {"sklearn": {"pickled_model": inside}}))


@pytest.mark.parametrize("inside", ["../secret.onnx", "/etc/passwd", "link"])
def test_a_flavour_leads_nowhere_else(tmp_path: Path, inside: str) -> None:
    (tmp_path / "secret.onnx").touch()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret.onnx")
    with pytest.raises(SourceError, match="outside the model's folder"):
        read(written(folder, {"onnx": {"data": inside}}))


@pytest.mark.parametrize(
    ("flavours", "says"),
    [
        ({"python_function": {}}, r"\(python_function\) can become an ONNX file; log the model with mlflow\.onnx"),
        ({"onnx": {}}, "does not say where the model is"),
        ({"onnx": {"data": "gone.onnx"}}, "is not there"),
        ([], "expected `flavors`"),
    ],
)
def test_what_cannot_be_published_is_told(tmp_path: Path, flavours: Any, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        read(written(tmp_path, flavours))


@pytest.mark.parametrize("text", ["{", "!!bool x", "", "3"])
def test_a_broken_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MLMODEL).write_text(text)
    with pytest.raises(SourceError):
        read(tmp_path)


@pytest.mark.parametrize(
    ("inputs", "columns"),
    [
        ([{"name": "age", "type": "long"}, {"name": "city", "type": "string"}], {"age": "INT64", "city": "BYTES"}),
        ([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}], {}),
        ([{"name": "when", "type": "datetime"}], {}),
        ("no list", {}),
    ],
)
def test_columns_come_from_the_signature(tmp_path: Path, inputs: Any, columns: dict[str, str]) -> None:
    (tmp_path / "model.onnx").touch()
    signature = {"inputs": json.dumps(inputs)}
    assert read(written(tmp_path, {"onnx": {"data": "model.onnx"}}, signature=signature)).columns == columns
