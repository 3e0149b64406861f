"""`turnout publish` takes what people have, and says what to do where it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from tests.cli.conftest import Run
from tests.e2e import graphs
from turnout_server.cli.sourcing import with_columns, with_origin
from turnout_server.sources import conversion
from turnout_server.sources.conversation import Converted, Request
from turnout_server.sources.preparation import Prepared
from turnout_server.store.manifest import Lineage
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec


def test_an_mlflow_models_folder_is_published_and_says_where_it_is_from(run: Run, store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(graphs.echo(["FP32"]), folder / "model.onnx")
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {"onnx": {"data": "model.onnx"}}, "run_id": "r7"}))
    assert run("publish", folder, "-m", "new").out == "1\n"
    assert DirectoryStore(store).manifest("new", 1).lineage.notes == f"{folder}, MLflow run r7"


def test_what_is_converted_has_its_features_and_its_tools_in_the_manifest(
    run: Run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def converted(request: Request, timeout_s: float) -> Any:
        onnx.save(graphs.ranking([1, 2]), Path(request.out) / "model.onnx")
        return Converted("lightgbm 4, onnxmltools 1", ["a", "b"], ["categories are codes"])

    monkeypatch.setattr(conversion, "run", converted)
    (tmp_path / "model.txt").write_bytes(b"tree\n")
    ran = run("publish", tmp_path / "model.txt", "-m", "new", "--task", "ranking")
    assert ran.out == "1\n", ran.err
    assert "note: categories are codes" in ran.err
    manifest = DirectoryStore(store).manifest("new", 1)
    assert [column.name for column in manifest.signature.inputs[0].columns] == ["a", "b"]
    assert manifest.lineage.framework == "lightgbm 4, onnxmltools 1"


def test_a_pickle_is_not_read_unasked_and_the_lines_that_make_a_graph_are_printed(
    run: Run, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.pkl").write_bytes(b"\x80\x05")
    ran = run("publish", tmp_path / "model.pkl", "-m", "new")
    assert (ran.code, ran.out) == (77, "")
    first, *lines = ran.err.splitlines()
    assert "--unpickle says that you trust who made it" in first
    assert lines[0] == "pip install scikit-learn skl2onnx"
    assert len(lines) == 4
    assert not (store / "models/new").exists()


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        ("s3://bucket/model.onnx", 65, "s3:// is not read yet"),
        ("nothing.onnx", 66, "nothing.onnx: no such file"),
    ],
)
def test_what_is_elsewhere_or_nowhere_is_told(run: Run, store: Path, source: str, code: int, says: str) -> None:
    ran = run("publish", source, "-m", "new")
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err


def test_names_that_do_not_fit_the_graph_are_left_out() -> None:
    matrix = Signature((TensorSpec("x", DType.FP32, (-1, 2)),), (TensorSpec("y", DType.FP32, (-1,)),))
    for names in (("a",), ("a", "b", "c"), ("a", "a"), ()):
        assert with_columns(matrix, Prepared(Path(), columns=names)) == matrix
    assert with_columns(matrix, Prepared(Path(), columns=("a", "b"))).inputs[0].columns[1].name == "b"


def test_what_a_manifest_says_stands() -> None:
    found = Prepared(Path(), "tool 1", "from there", metrics={"auc": 0.9})
    assert with_origin(Lineage(), found) == Lineage(framework="tool 1", notes="from there", metrics={"auc": 0.9})
    said = Lineage(framework="f", notes="n", metrics={"rmse": 1.0})
    assert with_origin(said, found) == said
