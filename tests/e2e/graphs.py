"""Tiny ONNX graphs, one kind a task, whose answers can be worked out in the head."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

DTYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
"""ONNX's element types by the Open Inference Protocol's names."""

CATALOGUE = tuple(range(101, 111))
"""The items that `recommendation` knows, most popular first."""

CUTS = {"Fair": 1.0, "Good": 1.1, "Ideal": 1.5}
"""What a cut multiplies a `price` by; an unknown one counts as 1."""


def price(per_carat: float) -> onnx.ModelProto:
    """`price` = carat * per_carat * CUTS[cut]; `low` and `high` are nine tenths and eleven tenths of it."""
    inputs = [_value("carat", "FP32", ["n", 1]), _value("cut", "BYTES", ["n", 1])]
    outputs = [_value(name, "FP32", ["n"]) for name in ("price", "low", "high")]
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["cut"],
            ["factor"],
            domain="ai.onnx.ml",
            keys_strings=list(CUTS),
            values_floats=list(CUTS.values()),
            default_float=1.0,
        ),
        helper.make_node("Mul", ["carat", "factor"], ["weight"]),
        helper.make_node("Mul", ["weight", "per_carat"], ["column"]),
        helper.make_node("Squeeze", ["column", "one"], ["price"]),
        helper.make_node("Mul", ["price", "nine_tenths"], ["low"]),
        helper.make_node("Mul", ["price", "eleven_tenths"], ["high"]),
    ]
    constants = [
        helper.make_tensor("per_carat", TensorProto.FLOAT, [1], [per_carat]),
        helper.make_tensor("nine_tenths", TensorProto.FLOAT, [1], [0.9]),
        helper.make_tensor("eleven_tenths", TensorProto.FLOAT, [1], [1.1]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
    ]
    return _model(nodes, inputs, outputs, constants)


def ranking(weights: Sequence[float]) -> onnx.ModelProto:
    """`score` = `features` times *weights*, shape [n]."""
    width = len(weights)
    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["column"]),
        helper.make_node("Squeeze", ["column", "one"], ["score"]),
    ]
    constants = [
        helper.make_tensor("weights", TensorProto.FLOAT, [width, 1], list(weights)),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
    ]
    return _model(nodes, [_value("features", "FP32", ["n", width])], [_value("score", "FP32", ["n"])], constants)


def recommendation(again: float) -> onnx.ModelProto:
    """Scores an item by its popularity, 10 for the first of CATALOGUE down to 1, plus *again* for each time in history.

    Excluded items, and what is left over when all are, come back as id -1.
    """
    count = len(CATALOGUE)
    inputs = [_value("history", "INT64", ["n", "h"]), _value("exclude", "INT64", ["n", "e"]), _value("k", "INT64", [1])]
    outputs = [_value("item_ids", "INT64", ["n", "w"]), _value("scores", "FP32", ["n", "w"])]
    nodes = [
        *_times_in("history", "seen"),
        *_times_in("exclude", "excluded"),
        helper.make_node("Mul", ["seen", "again"], ["bonus"]),
        helper.make_node("Add", ["bonus", "popularity"], ["wanted"]),
        helper.make_node("Mul", ["excluded", "never"], ["penalty"]),
        helper.make_node("Add", ["wanted", "penalty"], ["total"]),
        helper.make_node("Min", ["k", "count"], ["width"]),
        helper.make_node("TopK", ["total", "width"], ["scores", "places"]),
        helper.make_node("Gather", ["catalogue", "places"], ["found"]),
        helper.make_node("Less", ["scores", "floor"], ["nothing"]),
        helper.make_node("Where", ["nothing", "padding", "found"], ["item_ids"]),
    ]
    constants = [
        helper.make_tensor("catalogue", TensorProto.INT64, [count], CATALOGUE),
        helper.make_tensor("popularity", TensorProto.FLOAT, [count], list(range(count, 0, -1))),
        helper.make_tensor("again", TensorProto.FLOAT, [1], [again]),
        helper.make_tensor("never", TensorProto.FLOAT, [1], [-1e9]),
        helper.make_tensor("floor", TensorProto.FLOAT, [1], [-1e8]),
        helper.make_tensor("count", TensorProto.INT64, [1], [count]),
        helper.make_tensor("padding", TensorProto.INT64, [1], [-1]),
        helper.make_tensor("axis_1", TensorProto.INT64, [1], [1]),
        helper.make_tensor("axis_2", TensorProto.INT64, [1], [2]),
    ]
    return _model(nodes, inputs, outputs, constants)


def echo(dtypes: Sequence[str], dims: Sequence[str | int] = ("n", "m")) -> onnx.ModelProto:
    """For each dtype D an input `in_d` and an output `out_d`, equal to it."""
    names = [dtype.lower() for dtype in dtypes]
    inputs = [_value(f"in_{name}", dtype, dims) for name, dtype in zip(names, dtypes, strict=True)]
    outputs = [_value(f"out_{name}", dtype, dims) for name, dtype in zip(names, dtypes, strict=True)]
    return _model([helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in names], inputs, outputs)


def slow() -> onnx.ModelProto:
    """Multiplies a 256 x 256 matrix `rounds` times: a quarter of a millisecond or so a round. `done` = `rounds`."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["before", "matrix"], ["after"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "body",
        [_value("round", "INT64", []), _value("go", "BOOL", []), _value("before", "FP32", [256, 256])],
        [_value("go_on", "BOOL", []), _value("after", "FP32", [256, 256])],
    )
    nodes = [
        helper.make_node("Squeeze", ["rounds"], ["count"]),
        helper.make_node("ConstantOfShape", ["shape"], ["start"]),
        helper.make_node("ConstantOfShape", ["shape"], ["matrix"]),
        helper.make_node("Loop", ["count", "", "start"], ["end"], body=body),
        helper.make_node("ReduceMax", ["end"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["zero"], to=TensorProto.INT64),
        helper.make_node("Add", ["rounds", "zero"], ["done"]),
    ]
    constants = [helper.make_tensor("shape", TensorProto.INT64, [2], [256, 256])]
    return _model(nodes, [_value("rounds", "INT64", [1])], [_value("done", "INT64", [1])], constants)


def _times_in(ids: str, times: str) -> list[onnx.NodeProto]:
    """Count how often each item of the catalogue stands in *ids* [n, width]; FP32 [n, items]."""
    return [
        helper.make_node("Unsqueeze", [ids, "axis_2"], [f"{ids}_3d"]),
        helper.make_node("Equal", [f"{ids}_3d", "catalogue"], [f"{ids}_same"]),
        helper.make_node("Cast", [f"{ids}_same"], [f"{ids}_ones"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", [f"{ids}_ones", "axis_1"], [times], keepdims=0),
    ]


def _value(name: str, dtype: str, dims: Sequence[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, DTYPES[dtype], list(dims))


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
