"""What a graph has, and whether a manifest says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.onnx import graphs
from turnout_server.onnx.session import OpenSession
from turnout_server.onnx.signature import check_signature, read_signature
from turnout_server.store.manifest import RuntimeOptions
from turnout_server.vocabulary.errors import InvalidModelError
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec


def spec(name: str, dtype: DType = DType.FP32, shape: tuple[int, ...] = (-1, 2)) -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def test_a_graphs_signature_is_read(open_session: OpenSession, tmp_path: Path) -> None:
    session = open_session(graphs.saved(tmp_path, graphs.linear()) / "model.onnx", RuntimeOptions())
    assert read_signature(session) == graphs.LINEAR
    assert read_signature(session, batched=False).batched is False


ACTUAL = Signature((spec("x"), spec("k", DType.INT64, (1,))), (spec("y"), spec("z")))


@pytest.mark.parametrize(
    ("side", "claimed", "problem"),
    [
        ("inputs", (spec("x"),), "leaves out the graph's input 'k'"),
        ("inputs", (*ACTUAL.inputs, spec("w")), "no input 'w'; it has x, k"),
        ("inputs", (spec("x", DType.FP64), ACTUAL.inputs[1]), "input 'x' is FP32 in the graph, FP64"),
        ("inputs", (spec("x", shape=(-1, 3)), ACTUAL.inputs[1]), "input 'x' has shape"),
        ("inputs", (spec("x", shape=(-1,)), ACTUAL.inputs[1]), "input 'x' has shape"),
        ("outputs", (spec("q"),), "no output 'q'"),
        ("outputs", (), "names no output"),
    ],
)
def test_a_claim_that_is_wrong_names_the_tensor(side: str, claimed: Any, problem: str) -> None:
    sides = {"inputs": ACTUAL.inputs, "outputs": ACTUAL.outputs} | {side: claimed}
    with pytest.raises(InvalidModelError, match=problem):
        check_signature(Signature(**sides), ACTUAL)


def test_a_claim_may_leave_out_outputs_and_sizes() -> None:
    check_signature(Signature((spec("x", shape=(7, -1)), ACTUAL.inputs[1]), (spec("z"),)), ACTUAL)
