"""From a source to a file: fetched, read, converted, as far as it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from turnout_server.sources import conversion
from turnout_server.sources.conversation import Answer, Converted, Fetched, Request
from turnout_server.sources.conversion import UntrustedError
from turnout_server.sources.preparation import Prepared, prepare
from turnout_server.sources.source import Kind


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """A registry with a pickled model in it, and a converter that converts anything."""
    requests: list[Request] = []
    (tmp_path / "scratch").mkdir()

    def run(request: Request, timeout_s: float) -> Answer:
        requests.append(request)
        if request.kind is not Kind.MLFLOW:
            return Converted("tool 1", ["a"], ["odd"])
        folder = Path(request.out) / "model"
        folder.mkdir()
        (folder / "model.pkl").write_bytes(b"\x80\x05")
        inputs = '[{"name": "a", "type": "double"}, {"name": "b", "type": "double"}]'
        document = {"flavors": {"sklearn": {"pickled_model": "model.pkl"}}, "signature": {"inputs": inputs}}
        (folder / "MLmodel").write_text(yaml.safe_dump(document))
        return Fetched(str(folder), "3", "r1", {"auc": 0.9})

    monkeypatch.setattr(conversion, "run", run)
    return requests


def test_an_onnx_file_is_what_it_is(tmp_path: Path, asked: list[Request]) -> None:
    (tmp_path / "graph").touch()
    assert prepare(str(tmp_path / "graph"), tmp_path / "scratch") == Prepared(tmp_path / "graph")
    assert not asked


def test_a_registrys_model_is_fetched_read_and_converted(tmp_path: Path, asked: list[Request]) -> None:
    found = prepare("models:/churn@champion", tmp_path / "scratch", trusted=True, columns={"b": "INT64"})
    assert [request.kind for request in asked] == [Kind.MLFLOW, Kind.SKLEARN]
    assert asked[1].columns == {"a": "FP32", "b": "INT64"}  # a sample knows better
    assert found.graph == tmp_path / "scratch/converted/model.onnx"
    assert found.origin == "MLflow models:/churn@champion (version 3, run r1)"
    assert (found.framework, found.columns, found.metrics, found.notes) == ("tool 1", ("a",), {"auc": 0.9}, ("odd",))


def test_what_was_fetched_is_not_unpickled_unless_that_is_wanted(tmp_path: Path, asked: list[Request]) -> None:
    with pytest.raises(UntrustedError):
        prepare("models:/churn@champion", tmp_path / "scratch")
    assert [request.kind for request in asked] == [Kind.MLFLOW]


def test_an_mlmodels_folder_says_where_it_is_from(tmp_path: Path, asked: list[Request]) -> None:
    (tmp_path / "model.onnx").touch()
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": {"onnx": {"data": "model.onnx"}}, "run_id": "r7"}))
    found = prepare(str(tmp_path), tmp_path / "scratch")
    assert (found.graph, found.origin) == (tmp_path / "model.onnx", f"{tmp_path}, MLflow run r7")
