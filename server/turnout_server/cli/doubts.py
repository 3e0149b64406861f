"""What is odd about a version that is about to be published: served it can be, but hardly as it was meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from turnout_server.sources.sample import Sample
from turnout_server.tasks.features import pack
from turnout_server.vocabulary.errors import InvalidInputError
from turnout_server.vocabulary.signature import DType, Signature
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array, Arrays, fp32_of

_DEPENDENT = (
    "rows of one batch change each other's answers, so the gateway runs requests one at a time;"
    " --no-batched says so in the manifest"
)
_UNMEASURED = "there are no metrics, by which versions are compared: lineage.metrics of --manifest has them"


def of_graph(signature: Signature, left_out: Mapping[str, str]) -> list[str]:
    """Return what is odd about a graph.

    Args:
        signature: its own, or as its manifest has it.
        left_out: types of outputs that cannot be served, by name.
    """
    found = []
    for name, kind in left_out.items():
        way = "; skl2onnx leaves them tensors with options={'zipmap': False}" if kind.startswith("seq(map(") else ""
        found.append(f"output {name!r} is a {kind}, no tensor, and is left out{way}")
    fixed = {spec.name: spec.shape for spec in signature.inputs if spec.shape[:1] and spec.shape[0] != -1}
    if fixed and len(fixed) == len(signature.inputs):
        name, shape = next(iter(fixed.items()))
        found.append(
            f"the batch axis is fixed (input {name!r} is {list(shape)}): every request has to have just so many rows, "
            "and requests are never put together; export the graph with a free first axis"
        )
    wide = [spec.name for spec in (*signature.inputs, *signature.outputs) if spec.dtype is DType.FP64]
    if wide:
        found.append(
            f"it computes in float64 ({', '.join(wide[:4])}), which takes twice the bytes and more time; float32 is "
            "enough for most models"
        )
    return found


def of_rows(signature: Signature, independent: bool) -> list[str]:
    """Return what is odd about how rows go together."""
    return [_DEPENDENT] if signature.has_batch_axis and not independent else []


def of_metrics(metrics: Collection[str]) -> list[str]:
    """Return what is odd about what was measured."""
    return [] if metrics else [_UNMEASURED]


def of_answers(signature: Signature, answers: Sequence[Array], rows: int) -> list[str]:
    """Return what is odd about the answers to a sample of so many rows."""
    found = []
    for spec, answer in zip(signature.outputs, answers, strict=True):
        values = fp32_of(answer) if spec.dtype is DType.BF16 else answer
        if values.dtype.kind == "f" and (unknown := int(np.isnan(values).sum())):
            found.append(f"output {spec.name!r} has {unknown} NaN among {values.size} values for the sample")
        elif rows > 1 and values.shape[:1] == (rows,) and bool((values == values[0]).all()):
            found.append(f"output {spec.name!r} is the same for all {rows} rows of the sample")
    return found


def inputs_of(sample: Sample, signature: Signature) -> Arrays:
    """Return a sample as a graph takes it: by features' names, or as they stand where the graph has no names.

    Columns that the graph does not know, such as what it is to predict, are left out.

    Raises:
        TurnoutError: they do not fit.
    """
    columns: dict[str, Array] = {
        name: np.array(values, _column_dtype(sample.dtypes[name])) for name, values in sample.columns.items()
    }
    inputs = signature.inputs
    if len(inputs) == 1 and len(inputs[0].shape) == 2 and not inputs[0].columns and inputs[0].shape[1] > 1:
        (spec,) = inputs
        if len(columns) != spec.shape[1]:
            raise InvalidInputError(spec.name, f"takes {spec.shape[1]} features; the sample has {len(columns)} columns")
        if any(column.dtype == object for column in columns.values()):
            raise InvalidInputError(spec.name, "takes numbers; the sample has texts")
        return {spec.name: np.stack([*columns.values()], axis=1).astype(NUMPY_DTYPES[spec.dtype])}
    known = {column.name for spec in inputs for column in spec.columns} | {spec.name for spec in inputs}
    return pack(signature, {name: column for name, column in columns.items() if name in known}, sample.rows)


def _column_dtype(dtype: str) -> type:
    return {"BOOL": np.int64, "INT64": np.int64, "BYTES": object}.get(dtype, np.float32)
