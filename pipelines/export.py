"""From trained models to a published ONNX file: composing a graph, checking its answers, handing it to the store."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipelines.report import PipelineError
from turnout_server.store.manifest import Manifest
from turnout_server.store.publish import Draft, publish
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec

Array = npt.NDArray[Any]

OPSETS = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8
CHUNK = 4096
_ELEMENTS = {
    DType.FP32: TensorProto.FLOAT,
    DType.INT64: TensorProto.INT64,
    DType.BYTES: TensorProto.STRING,
}


class Graph:
    """Grows an ONNX graph node by node; names of values are made up here and handed back."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._names = 0

    def constant(self, value: Array | np.generic) -> str:
        """Put *value* into the graph and return its name."""
        name = self._name()
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, domain: str = "", output: str = "", **attributes: Any) -> str:
        """Append a node with one output and return the output's name, made up unless given."""
        output = output or self._name()
        self._nodes.append(helper.make_node(operator, list(inputs), [output], domain=domain, **attributes))
        return output

    def add_pair(
        self, operator: str, *inputs: str, outputs: tuple[str, str], domain: str = "", **attributes: Any
    ) -> tuple[str, str]:
        """Append a node with two outputs, which get the names given, and return them."""
        self._nodes.append(helper.make_node(operator, list(inputs), list(outputs), domain=domain, **attributes))
        return outputs

    def splice(self, model: onnx.ModelProto, source: str, output: str = "") -> str:
        """Append all nodes of a one-input *model*, fed with *source*; return its first output, or the one named."""
        graph = model.graph
        names = {graph.input[0].name: source, "": ""}
        for constant in graph.initializer:
            names[constant.name] = self._name()
            copy = onnx.TensorProto.FromString(constant.SerializeToString())
            copy.name = names[constant.name]
            self._constants.append(copy)
        for node in graph.node:
            copied = onnx.NodeProto.FromString(node.SerializeToString())
            copied.name = ""
            copied.input[:] = [names[name] for name in node.input]
            copied.output[:] = [names.setdefault(name, self._name()) for name in node.output]
            self._nodes.append(copied)
        return names[output or graph.output[0].name]

    def close(self, name: str, signature: Signature) -> onnx.ModelProto:
        """Return the finished, checked model with *signature*'s inputs and outputs."""
        graph = helper.make_graph(
            self._nodes,
            name,
            [_value(spec) for spec in signature.inputs],
            [_value(spec) for spec in signature.outputs],
            self._constants,
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="turnout")
        onnx.checker.check_model(model, full_check=True)
        return model

    def _name(self) -> str:
        self._names += 1
        return f"v{self._names}"


def fill_missing(graph: Graph, source: str, defaults: Sequence[float]) -> str:
    """Replace NaN in *source*, float32 [rows, F], by the F *defaults*: NaN means missing, missing means the default."""
    filling = graph.constant(np.array([defaults], dtype=np.float32))
    return graph.add("Where", graph.add("IsNaN", source), filling, source)


def flatten(graph: Graph, source: str, output: str = "") -> str:
    """Turn *source*, [rows, 1], into [rows]."""
    return graph.add("Reshape", source, graph.constant(np.array([-1], dtype=np.int64)), output=output)


def verify(
    model: onnx.ModelProto,
    feed: Mapping[str, Array],
    expected: Mapping[str, Array],
    *,
    relative: float,
    absolute: float,
) -> float:
    """Run *model* in ONNX Runtime on all rows of *feed* and compare it with what the framework answered.

    Returns:
        The largest absolute difference over all outputs.

    Raises:
        PipelineError: some |difference| is above absolute + relative * |expected|, a shape or dtype differs, or an
            answer is not finite.
    """
    found = run(model, feed)
    worst = 0.0
    for name, wanted in expected.items():
        got = found[name]
        if got.shape != wanted.shape or got.dtype != np.float32:
            raise PipelineError(f"export: {name} is {got.dtype} {got.shape}, expected float32 {wanted.shape}")
        with np.errstate(invalid="ignore"):  # what is not finite ends as NaN, and NaN is never within the tolerance
            difference = np.abs(got.astype(np.float64) - wanted)
            beyond = ~(difference <= absolute + relative * np.abs(wanted))
        if beyond.any():
            row = int(np.argmax(np.where(beyond, np.nan_to_num(difference, nan=np.inf), -1.0)))
            raise PipelineError(
                f"export: {name} differs beyond the tolerance in {int(beyond.sum())} of {len(wanted)} rows; "
                f"row {row} is {got[row]!r}, expected {wanted[row]!r}"
            )
        worst = max(worst, float(difference.max(initial=0.0)))
    return worst


def run(model: onnx.ModelProto, feed: Mapping[str, Array]) -> dict[str, Array]:
    """Return ONNX Runtime's outputs for all rows of *feed*, run as the gateway runs them, `CHUNK` rows at a time."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    rows = len(next(iter(feed.values())))
    parts = [
        session.run(names, {name: values[start : start + CHUNK] for name, values in feed.items()})
        for start in range(0, rows, CHUNK)
    ]
    return {name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)}


def release(store: Path, graph: onnx.ModelProto, labels: Sequence[str], **draft: Any) -> tuple[Manifest, int]:
    """Publish *graph* with the fields of a `Draft` but its files; return the manifest and the ONNX file's bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "model.onnx")
        file.write_bytes(graph.SerializeToString(deterministic=True))
        manifest = publish(store, Draft(files={"model.onnx": file}, **draft), labels=labels)
        return manifest, file.stat().st_size


def framework(*distributions: str) -> str:
    """Return what trained a model, with releases: `lightgbm 4.7.0, onnxmltools 1.16.0`."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in distributions)


def revision(*modules: str) -> str:
    """Return what tells one state of these modules' code from another: their names and a SHA-256 over their files."""
    files = [Path(__file__).parent / f"{name}.py" for name in modules]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return f"{', '.join(f'pipelines/{file.name}' for file in files)} sha256:{digest[:16]}"


def _value(spec: TensorSpec) -> onnx.ValueInfoProto:
    free = ["rows", *(f"{spec.name}_{axis}" for axis in range(1, len(spec.shape)))]
    shape = [name if size < 0 else size for name, size in zip(free, spec.shape, strict=True)]
    return helper.make_tensor_value_info(spec.name, _ELEMENTS[spec.dtype], shape)
