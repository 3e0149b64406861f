"""Which graphs' runs cost what values say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from tests.onnx.graphs import FLOAT, INT64, graph, linear, lookup, value
from turnout_server.onnx.by_value import is_by_value

BOOL = TensorProto.BOOL
X, N = value("x", FLOAT, ["n"]), value("n", INT64, [1])
SAMPLES = sorted((Path(__file__).parents[2] / "model_store" / "models").glob("*/*/model.onnx"))


def node(kind: str, inputs: list[str], output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)


def constant(name: str, *numbers: int) -> onnx.NodeProto:
    return node("Constant", [], name, value=helper.make_tensor(name, INT64, [len(numbers)], numbers))


def loop(turns: str, condition: str = "") -> onnx.NodeProto:
    body = helper.make_graph(
        [node("Identity", ["go"], "go_on"), node("Abs", ["before"], "after")],
        "body",
        [value("turn", INT64, []), value("go", BOOL, []), value("before", FLOAT, None)],
        [value("go_on", BOOL, []), value("after", FLOAT, None)],
    )
    return node("Loop", [turns, condition, "x"], body=body)


def made(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    return graph(nodes, [X, N], [value("y", FLOAT, None)])


def sized(kind: str, size: str) -> onnx.NodeProto:
    """A node whose output is as large as *size* says."""
    match kind:
        case "Loop":
            return loop(size)
        case "ConstantOfShape":
            return node(kind, [size])
        case "Range":
            return node(kind, ["zero", size, "one"])
        case "Resize":
            return node(kind, ["x", "", "", size])
        case "If":
            branch = helper.make_graph([node("Abs", ["x"], "b")], "branch", [], [value("b", FLOAT, None)])
            return node(kind, [size], then_branch=branch, else_branch=branch)
        case _:
            return node(kind, ["x", size])


SIZED = ("Loop", "ConstantOfShape", "Range", "Resize", "If", "Expand", "Tile", "Pad", "OneHot", "Reshape")
ENDS = (constant("zero", 0), constant("one", 1))


def found(model: onnx.ModelProto, directory: Path) -> bool:
    (directory / "model.onnx").write_bytes(model.SerializeToString())
    return is_by_value(directory / "model.onnx")


@pytest.mark.parametrize("kind", SIZED)
def test_a_size_that_is_an_input_or_made_of_one_decides(kind: str, tmp_path: Path) -> None:
    assert found(made(*ENDS, sized(kind, "n")), tmp_path)
    assert found(made(*ENDS, node("Add", ["n", "one"], "more"), sized(kind, "more")), tmp_path)


@pytest.mark.parametrize("kind", SIZED)
def test_a_size_that_is_a_constant_or_made_of_shapes_does_not(kind: str, tmp_path: Path) -> None:
    assert not found(made(*ENDS, sized(kind, "one")), tmp_path)
    shape = (node("Shape", ["x"], "shape"), node("Add", ["shape", "one"], "more"))
    assert not found(made(*ENDS, *shape, sized(kind, "more")), tmp_path)


def test_a_loop_that_goes_on_until_a_value_says_so_is_one(tmp_path: Path) -> None:
    assert found(made(constant("one", 1), node("Cast", ["one"], "go", to=BOOL), loop("", "go")), tmp_path)


def test_what_is_there_only_for_values_is_one(tmp_path: Path) -> None:
    assert found(made(node("NonZero", ["x"])), tmp_path)


def test_it_is_found_in_a_branch_and_in_a_function(tmp_path: Path) -> None:
    branch = helper.make_graph([node("ConstantOfShape", ["n"], "b")], "branch", [], [value("b", FLOAT, None)])
    choice = node("If", ["yes"], then_branch=branch, else_branch=branch)
    assert found(made(constant("one", 1), node("Cast", ["one"], "yes", to=BOOL), choice), tmp_path)
    model = made(helper.make_node("grow", ["n"], ["y"], domain="own"))
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(
        helper.make_function("own", "grow", ["size"], ["all"], [node("ConstantOfShape", ["size"], "all")], opsets)
    )
    assert found(model, tmp_path)


def test_nobody_knows_of_operators_of_others(tmp_path: Path) -> None:
    assert found(made(helper.make_node("Sampling", ["x"], ["y"], domain="com.microsoft")), tmp_path)
    assert not found(made(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")), tmp_path)


@pytest.mark.parametrize("model", [linear(), lookup()])
def test_plain_graphs_are_not(model: onnx.ModelProto, tmp_path: Path) -> None:
    assert not found(model, tmp_path)


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: "/".join(file.parts[-3:-1]))
def test_the_sample_models_are_not(file: Path) -> None:
    assert not is_by_value(file)
