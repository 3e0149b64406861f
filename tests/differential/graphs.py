"""Graphs that the end-to-end tests do without: fixed shapes, scalars, failures, versions that say who they are."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from tests.e2e.graphs import DTYPES


def identity(tensors: list[tuple[str, str, tuple[int, ...]]]) -> onnx.ModelProto:
    """For each (name, dtype, shape) an input, and an output `same_NAME` equal to it; -1 is any size."""
    nodes = [helper.make_node("Identity", [name], [f"same_{name}"]) for name, _, _ in tensors]
    return _model(nodes, tensors, [(f"same_{name}", dtype, shape) for name, dtype, shape in tensors])


def total() -> onnx.ModelProto:
    """`total` [] is the sum of `x` [any]."""
    nodes = [helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0)]
    return _model(nodes, [("x", "FP32", (-1,))], [("total", "FP32", ())])


def picky() -> onnx.ModelProto:
    """`picked` = [10, 11, 12, 13][`index`]; indices beyond -4 to 3 fail."""
    nodes = [helper.make_node("Gather", ["table", "index"], ["picked"])]
    table = helper.make_tensor("table", TensorProto.FLOAT, [4], [10, 11, 12, 13])
    return _model(nodes, [("index", "INT64", (-1,))], [("picked", "FP32", (-1,))], [table])


def who(version: int) -> onnx.ModelProto:
    """`y` = `x` times *version*, and `version` [1] is what it says."""
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["y"]),
        helper.make_node("Identity", ["number"], ["version"]),
    ]
    constants = [
        helper.make_tensor("factor", TensorProto.FLOAT, [1], [version]),
        helper.make_tensor("number", TensorProto.INT64, [1], [version]),
    ]
    return _model(nodes, [("x", "FP32", (-1, 2))], [("y", "FP32", (-1, 2)), ("version", "INT64", (1,))], constants)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, str, tuple[int, ...]]],
    outputs: list[tuple[str, str, tuple[int, ...]]],
    constants: list[onnx.TensorProto] | None = None,
) -> onnx.ModelProto:
    values = [[_value(*tensor) for tensor in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "tiny", *values, constants or [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _value(name: str, dtype: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    dims = [f"{name.removeprefix('same_')}_{axis}" if size < 0 else size for axis, size in enumerate(shape)]
    return helper.make_tensor_value_info(name, DTYPES[dtype], dims)
