"""What is given is told by what is in it, and nothing of it is run."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest

from turnout_server.sources.source import Kind, Source, SourceError, recognise


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("graph", b"\x08\x08", Kind.ONNX),
        ("model.onnx", b"", Kind.ONNX),
        ("model", b"tree\nversion=v4\n", Kind.LIGHTGBM),
        ("model.lgb", b"tree\nversion=v4\n", Kind.LIGHTGBM),
        ("model.xgb", b'{"learner":{"attributes":{}}}', Kind.XGBOOST),
        ("model.xgb", b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner", Kind.XGBOOST),
        ("model.bin", pickle.dumps([1], protocol=5), Kind.SKLEARN),
        ("model.pkl", pickle.dumps([1], protocol=0), Kind.SKLEARN),
        ("model.joblib", b"\x78\x9c", Kind.SKLEARN),
        ("model.pth", b"\x80\x02", Kind.TORCH),
        ("model.skops", b"PK\x03\x04", Kind.SKOPS),
        ("model.keras", b"PK\x03\x04", Kind.KERAS),
        ("model.cbm", b"CBM1", Kind.CATBOOST),
        ("model.safetensors", b"", Kind.TRANSFORMERS),
    ],
)
def test_a_file_is_told_by_its_beginning_and_then_by_its_name(
    tmp_path: Path, name: str, content: bytes, kind: Kind
) -> None:
    (tmp_path / name).write_bytes(content)
    assert recognise(str(tmp_path / name)) == Source(kind, str(tmp_path / name))


@pytest.mark.parametrize(
    ("inside", "kind"), [("model/data.pkl", Kind.TORCH), ("schema.json", Kind.SKOPS), ("archive_format", Kind.TORCH)]
)
def test_an_archive_is_told_by_what_is_in_it(tmp_path: Path, inside: str, kind: Kind) -> None:
    with zipfile.ZipFile(tmp_path / "any", "w") as archive:
        archive.writestr(inside, b"")
    assert recognise(str(tmp_path / "any")).kind is kind


@pytest.mark.parametrize(("content", "says"), [(b"PK\x03\x04 broken", "broken"), (None, "unpack it")])
def test_another_archive_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is None:
        with zipfile.ZipFile(tmp_path / "any.zip", "w") as archive:
            archive.writestr("readme", b"")
    else:
        (tmp_path / "any.zip").write_bytes(content)
    with pytest.raises(SourceError, match=says):
        recognise(str(tmp_path / "any.zip"))


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["MLmodel", "model.pkl"], Kind.MLMODEL),
        (["saved_model.pb"], Kind.SAVED_MODEL),
        (["config.json", "model.safetensors"], Kind.TRANSFORMERS),
    ],
)
def test_a_folder_is_told_by_its_files(tmp_path: Path, files: list[str], kind: Kind) -> None:
    for file in files:
        (tmp_path / file).touch()
    assert recognise(str(tmp_path)).kind is kind


def test_another_folder_is_refused_and_the_graph_in_it_is_pointed_at(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"neither an MLflow model.*\(saved_model.pb\)$"):
        recognise(str(tmp_path))
    (tmp_path / "net.onnx").touch()
    with pytest.raises(SourceError, match=r"there is net\.onnx in it: publish that"):
        recognise(str(tmp_path))


@pytest.mark.parametrize("text", ["s3://b/model.onnx", "gs://b/m", "az://c/m", "https://x/y", "ftp://x"])
def test_what_is_elsewhere_is_refused_kindly(text: str) -> None:
    with pytest.raises(SourceError, match="is not read yet; fetch the files first"):
        recognise(text)


@pytest.mark.parametrize("text", ["models:/churn@champion", "models:/churn/3", "runs:/1/model"])
def test_a_registrys_model_is_left_to_it(text: str) -> None:
    assert recognise(text) == Source(Kind.MLFLOW, text)


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        recognise(str(tmp_path / "nothing"))


def test_only_what_may_hold_code_runs_any() -> None:
    assert {kind for kind in Kind if kind.runs_code} == {Kind.SKLEARN, Kind.TORCH}
