"""Small graphs, and manifests for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from turnout_server.store.manifest import Manifest, RuntimeOptions
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
value = helper.make_tensor_value_info


def graph(
    nodes: Sequence[onnx.NodeProto], inputs: Sequence[Any], outputs: Sequence[Any], constants: Sequence[Any] = ()
) -> onnx.ModelProto:
    """Return a model that nothing has checked."""
    made = helper.make_graph(nodes, "g", inputs, outputs, constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def linear(width: int = 2) -> onnx.ModelProto:
    """`y` [n, 1] is the sum of `x` [n, width]."""
    weights = numpy_helper.from_array(np.ones((width, 1), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="secret_node")]
    return graph(nodes, [value("x", FLOAT, ["n", width])], [value("y", FLOAT, ["n", 1])], [weights])


def lookup(size: int = 5) -> onnx.ModelProto:
    """`y` [n] is the `i`-th [n] of 0, 1, 2 ..."""
    table = numpy_helper.from_array(np.arange(size, dtype=np.float32), "t")
    nodes = [helper.make_node("Gather", ["t", "i"], ["y"], name="secret_node")]
    return graph(nodes, [value("i", INT64, ["n"])], [value("y", FLOAT, ["n"])], [table])


def heavy(megabytes: int, seed: int = 0) -> onnx.ModelProto:
    """A matrix of random weights of so many megabytes."""
    rows = megabytes * 1024
    weights = np.random.default_rng(seed).random((rows, 256), dtype=np.float32)
    nodes = [helper.make_node("Gather", ["w", "i"], ["y"])]
    constant = numpy_helper.from_array(weights, "w")
    return graph(nodes, [value("i", INT64, ["n"])], [value("y", FLOAT, ["n", 256])], [constant])


LINEAR = Signature((TensorSpec("x", DType.FP32, (-1, 2)),), (TensorSpec("y", DType.FP32, (-1, 1)),))
LOOKUP = Signature((TensorSpec("i", DType.INT64, (-1,)),), (TensorSpec("y", DType.FP32, (-1,)),))


def manifest(signature: Signature = LINEAR, **fields: Any) -> Manifest:
    """Return the manifest of version 3 of `price`, with no files listed."""
    return Manifest(
        1, "price", 3, Task.TENSORS, "2026-01-01T00:00:00Z", (), signature, runtime=RuntimeOptions(), **fields
    )


def saved(directory: Path, model: onnx.ModelProto | bytes) -> Path:
    """Write model.onnx into *directory* and return the directory."""
    raw = model if isinstance(model, bytes) else model.SerializeToString()
    (directory / "model.onnx").write_bytes(raw)
    return directory
