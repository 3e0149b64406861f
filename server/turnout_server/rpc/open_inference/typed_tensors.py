"""Tensors as protobuf values: the Open Inference Protocol's typed contents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from turnout_server.rpc.open_inference import raw_tensors
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.errors import InvalidInputError
from turnout_server.vocabulary.tensors import Array

FIELDS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where each datatype's elements travel. FP16 and BF16 have no field: they are raw only."""

_WIDER: Mapping[str, np.dtype[Any]] = {
    "INT8": np.dtype(np.int32),
    "INT16": np.dtype(np.int32),
    "UINT8": np.dtype(np.uint32),
    "UINT16": np.dtype(np.uint32),
}
"""What the field holds, for datatypes narrower than their field."""


def decode(name: str, datatype: str, dtype: np.dtype[Any], count: int, contents: pb.InferTensorContents) -> Array:
    """Return the *count* elements in *contents* as a flat array of *dtype*.

    Raises:
        InvalidInputError: another field than the datatype's is filled, there are too few or too many elements, one
            is outside the datatype's range or is not UTF-8, or the datatype is FP16 or BF16.
    """
    field = FIELDS.get(datatype)
    if field is None:
        raise InvalidInputError(name, f"{datatype} has no typed contents; send it in raw_input_contents")
    for other, _ in contents.ListFields():
        if other.name != field:
            raise InvalidInputError(name, f"{datatype} travels in {field}, found {other.name}")
    values: Sequence[Any] = getattr(contents, field)
    if len(values) != count:
        raise InvalidInputError(name, f"expected {count} elements in {field}, found {len(values)}")
    raw_tensors.check_count(name, count)
    if datatype == "BYTES":
        return raw_tensors.texts([raw_tensors.decode_text(name, index, item) for index, item in enumerate(values)])
    wider = _WIDER.get(datatype)
    if wider is None:
        return np.fromiter(values, dtype, count)
    return _narrow(name, datatype, dtype, np.fromiter(values, wider, count))


def encode(datatype: str, array: Array, contents: pb.InferTensorContents) -> None:
    """Put *array*'s elements into the field of *contents* that *datatype* (not FP16 or BF16) calls for."""
    elements = array.ravel().tolist()
    if datatype == "BYTES":
        contents.bytes_contents.extend([text.encode() for text in elements])
    else:
        getattr(contents, FIELDS[datatype]).extend(elements)


def _narrow(name: str, datatype: str, dtype: np.dtype[Any], values: Array) -> Array:
    limits = np.iinfo(dtype)
    outside = (values < limits.min) | (values > limits.max)
    if outside.any():
        index = int(outside.argmax())
        raise InvalidInputError(
            name, f"element {index} is {values[index]}; {datatype} holds {limits.min} to {limits.max}"
        )
    return values.astype(dtype)
