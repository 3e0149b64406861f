"""What a run gives, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.onnx.graphs import FLOAT, INT64, LINEAR, LOOKUP, graph, linear, lookup, manifest, saved, value
from turnout_server.onnx.session import OnnxServable, OpenSession
from turnout_server.store.manifest import RuntimeOptions
from turnout_server.vocabulary.errors import ModelFailedError, ModelRejectedInputError, TurnoutError
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec


def servable(open_session: OpenSession, directory: Path, model: object, signature: Signature) -> OnnxServable:
    path = saved(directory, model) / "model.onnx"  # type: ignore[arg-type]
    return OnnxServable(manifest(signature), open_session(path, RuntimeOptions()))


def tells_nothing(error: TurnoutError) -> bool:
    return not any(word in error.message for word in ("secret_node", "ONNXRuntime", "onnxruntime", "/"))


def test_an_index_out_of_range_is_the_callers_fault(open_session: OpenSession, tmp_path: Path) -> None:
    with pytest.raises(ModelRejectedInputError) as caught:
        servable(open_session, tmp_path, lookup(), LOOKUP).run({"i": np.array([99])})
    assert caught.value.reason == "INPUT_REJECTED"
    assert tells_nothing(caught.value)
    assert "secret_node" in str(caught.value.__cause__)


def test_sizes_that_do_not_agree_are_the_callers_fault(open_session: OpenSession, tmp_path: Path) -> None:
    names = ("a", "b")
    nodes = [helper.make_node("Add", list(names), ["y"], name="secret_node")]
    model = graph(nodes, [value(name, FLOAT, [name]) for name in names], [value("y", FLOAT, ["n"])])
    specs = tuple(TensorSpec(name, DType.FP32, (-1,)) for name in names)
    with pytest.raises(ModelRejectedInputError) as caught:
        servable(open_session, tmp_path, model, Signature(specs, LOOKUP.outputs, batched=False)).run(
            {"a": np.ones(3, np.float32), "b": np.ones(4, np.float32)}
        )
    assert tells_nothing(caught.value)


def test_running_out_of_memory_is_not_the_callers_fault(open_session: OpenSession, tmp_path: Path) -> None:
    nodes = [helper.make_node("ConstantOfShape", ["i"], ["y"], name="secret_node")]
    model = graph(nodes, [value("i", INT64, ["n"])], [value("y", FLOAT, ["m"])])
    with pytest.raises(ModelFailedError) as caught:
        servable(open_session, tmp_path, model, LOOKUP).run({"i": np.array([10**15])})
    assert tells_nothing(caught.value)


def test_outputs_come_in_the_order_wanted(open_session: OpenSession, tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["same"]), helper.make_node("Neg", ["x"], ["less"])]
    outputs = [value(name, FLOAT, ["n"]) for name in ("same", "less")]
    signature = Signature(
        (TensorSpec("x", DType.FP32, (-1,)),),
        tuple(TensorSpec(name, DType.FP32, (-1,)) for name in ("same", "less")),
    )
    loaded = servable(open_session, tmp_path, graph(nodes, [value("x", FLOAT, ["n"])], outputs), signature)
    inputs = {"x": np.array([1, 2], np.float32)}
    assert [array.tolist() for array in loaded.run(inputs)] == [[1, 2], [-1, -2]]
    assert [array.tolist() for array in loaded.run(inputs, ("less", "same"))] == [[-1, -2], [1, 2]]


def test_no_rows_in_no_rows_out(open_session: OpenSession, tmp_path: Path) -> None:
    (answer,) = servable(open_session, tmp_path, linear(), LINEAR).run({"x": np.ones((0, 2), np.float32)})
    assert answer.shape == (0, 1)


def test_a_scalar_goes_in_and_comes_out(open_session: OpenSession, tmp_path: Path) -> None:
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    signature = Signature((TensorSpec("x", DType.FP32, ()),), (TensorSpec("y", DType.FP32, ()),), batched=False)
    model = graph(nodes, [value("x", FLOAT, [])], [value("y", FLOAT, [])])
    (answer,) = servable(open_session, tmp_path, model, signature).run({"x": np.array(2, np.float32)})
    assert (answer.shape, float(answer)) == ((), -2.0)


def test_a_closed_version_fails_cleanly(open_session: OpenSession, tmp_path: Path) -> None:
    loaded = servable(open_session, tmp_path, linear(), LINEAR)
    loaded.close()
    with pytest.raises(ModelFailedError):
        loaded.run({"x": np.ones((1, 2), np.float32)})
