"""Odd versions are published with a warning, and with `--strict` not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.cli.conftest import Run
from turnout_server.cli import doubts
from turnout_server.sources.sample import Sample
from turnout_server.vocabulary.errors import TurnoutError
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec

PLAIN = Signature((TensorSpec("x", DType.FP32, (-1, 2)),), (TensorSpec("y", DType.FP32, (-1,)),))


def saved(directory: Path, *nodes: onnx.NodeProto, rows: object = "n") -> Path:
    """A graph from `x` [rows, 2] to `y`, whatever its nodes make that."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "odd",
        [value("x", TensorProto.FLOAT, [rows, 2])],
        [value("y", TensorProto.FLOAT, [rows, 2])],
        [helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), directory / "odd")
    return directory / "odd"


def identity() -> onnx.NodeProto:
    return helper.make_node("Identity", ["x"], ["y"])


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text("a,b\n1,-2\n3,4\n")
    return tmp_path / "rows.csv"


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    (tmp_path / "manifest.json").write_text(json.dumps({"lineage": {"metrics": {"rmse": 1.0}}}))
    return tmp_path / "manifest.json"


@pytest.mark.parametrize(
    ("node", "rows", "says"),
    [
        (identity(), 2, "the batch axis is fixed (input 'x' is [2, 2])"),
        (helper.make_node("Sqrt", ["x"], ["y"]), "n", "output 'y' has 1 NaN among 4 values for the sample"),
        (helper.make_node("Mul", ["x", "zero"], ["y"]), "n", "output 'y' is the same for all 2 rows of the sample"),
        (helper.make_node("Softmax", ["x"], ["y"], axis=0), "n", "rows of one batch change each other's answers"),
    ],
)
def test_what_is_odd_is_told_and_strictly_refused(
    run: Run, store: Path, tmp_path: Path, sample: Path, measured: Path, node: onnx.NodeProto, rows: object, says: str
) -> None:
    publish = ("publish", saved(tmp_path, node, rows=rows), "-m", "odd", "--sample", sample, "--manifest", measured)
    refused = run(*publish, "--strict")
    assert (refused.code, refused.out) == (65, "")
    assert f"warning: {says}" in refused.err
    assert "--strict: not published, for a warning" in refused.err
    assert not (store / "models/odd").exists()
    assert f"warning: {says}" in run(*publish).err


def test_nothing_is_odd_about_a_plain_version(
    run: Run, store: Path, tmp_path: Path, sample: Path, measured: Path
) -> None:
    path = saved(tmp_path, identity())
    ran = run("publish", path, "-m", "new", "--sample", sample, "--manifest", measured, "--strict")
    assert (ran.code, ran.out) == (0, "1\n")
    assert "warning" not in ran.err
    assert "warning: there are no metrics" in run("publish", path, "-m", "new").err


def test_a_classifiers_maps_are_left_out_and_the_option_is_named() -> None:
    (told,) = doubts.of_graph(PLAIN, {"probabilities": "seq(map(int64,tensor(float)))"})
    assert "'probabilities' is a seq(map(int64,tensor(float))), no tensor, and is left out" in told
    assert "options={'zipmap': False}" in told


def test_float64_is_told_and_a_fixed_k_beside_free_rows_is_not() -> None:
    wide = Signature((TensorSpec("x", DType.FP64, (-1,)), TensorSpec("k", DType.INT64, (1,))), PLAIN.outputs)
    (told,) = doubts.of_graph(wide, {})
    assert "float64 (x)" in told


def test_a_sample_goes_by_names_and_what_is_to_be_predicted_is_left_out() -> None:
    sample = Sample({"b": [1, 2], "a": [0.5, 1.5], "y": [0, 1]}, {"b": "INT64", "a": "FP32", "y": "INT64"})
    named = Signature((TensorSpec("x", DType.FP32, (-1, 2), columns=(Column("a"), Column("b"))),), PLAIN.outputs)
    np.testing.assert_array_equal(doubts.inputs_of(sample, named)["x"], [[0.5, 1], [1.5, 2]])
    with pytest.raises(TurnoutError, match="takes 2 features; the sample has 3 columns"):
        doubts.inputs_of(sample, PLAIN)
    texts = Sample({"a": ["u"], "b": ["v"]}, {"a": "BYTES", "b": "BYTES"})
    with pytest.raises(TurnoutError, match="the sample has texts"):
        doubts.inputs_of(texts, PLAIN)
