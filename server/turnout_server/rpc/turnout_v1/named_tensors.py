"""`NamedTensor` to and from arrays.

Elements travel in the field that their type names. In a request they may also be `raw`, as they lie in memory, and of
another type than the model's: `tasks.inference` sees whether they fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from turnout.v1 import features_pb2
from turnout.v1 import inference_service_pb2 as pb
from turnout_server.rpc.open_inference import raw_tensors
from turnout_server.rpc.open_inference.signatures import arrange
from turnout_server.rpc.turnout_v1 import typed
from turnout_server.tasks.inference import Elements, Tensor
from turnout_server.vocabulary.ask import NAME_LIMIT
from turnout_server.vocabulary.errors import InvalidInputError
from turnout_server.vocabulary.query import Prediction
from turnout_server.vocabulary.signature import DType
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array, fp32_of

_WHOLE = (
    DType.BOOL,
    DType.INT8,
    DType.INT16,
    DType.INT32,
    DType.INT64,
    DType.UINT8,
    DType.UINT16,
    DType.UINT32,
)
FIELDS: Mapping[DType, str] = {
    DType.FP16: "floats",
    DType.BF16: "floats",
    DType.FP32: "floats",
    DType.FP64: "doubles",
    **dict.fromkeys(_WHOLE, "integers"),
    DType.UINT64: "unsigneds",
    DType.BYTES: "strings",
}
"""Where each type's elements travel in an answer."""
_KINDS: Mapping[str, DType] = {
    "floats": DType.FP32,
    "doubles": DType.FP64,
    "integers": DType.INT64,
    "unsigneds": DType.UINT64,
    "strings": DType.BYTES,
    "blobs": DType.BYTES,
}
"""What each field holds."""


# ---------------------------------------------------------------- requests


def decode(message: pb.NamedTensor) -> Tensor:
    """Return a whole input. Its elements are looked at when it is held against a signature.

    Raises:
        InvalidInputError: its type is none, or it has no elements, or they are in a field that its type does not name.
    """
    name, stated = message.name, message.datatype
    if stated and stated not in DType.__members__:
        raise InvalidInputError(
            _short(name), f"found datatype {_short(stated)!r}; expected one of {', '.join(DType.__members__)}"
        )
    dtype = DType(stated) if stated else None
    field = message.WhichOneof("values")
    shape = tuple(message.shape)
    if field is None:
        if 0 not in shape:
            raise InvalidInputError(_short(name), f"has no elements; set raw, {', '.join(_KINDS)}")
        return Tensor(name, shape, _nothing)
    if field == "raw":
        return Tensor(name, shape, partial(_raw, name, message.raw, dtype))
    if dtype is not None and field != FIELDS[dtype] and not (field == "blobs" and dtype is DType.BYTES):
        raise InvalidInputError(_short(name), f"{dtype} travels in {FIELDS[dtype]} or raw, found {field}")
    return Tensor(name, shape, partial(_READERS[field], name, field, getattr(message, field)))


def _nothing(dtype: DType, count: int) -> Elements:
    return Elements(np.empty(0, NUMPY_DTYPES[dtype]), dtype)


def _raw(name: str, data: bytes, stated: DType | None, dtype: DType, count: int) -> Elements:
    sent = stated or dtype
    if sent is DType.BYTES:
        raise InvalidInputError(name, "BYTES are not sent raw; set strings or blobs")
    return Elements(raw_tensors.decode(name, NUMPY_DTYPES[sent], count, data), sent)


def _packed(name: str, field: str, message: Any, dtype: DType, count: int) -> Elements:
    _check_count(name, field, message, count)
    sent = _KINDS[field]
    return Elements(typed.packed(message, NUMPY_DTYPES[sent]), sent)


def _listed(name: str, field: str, message: Any, dtype: DType, count: int) -> Elements:
    _check_list(name, field, message, count)
    sent = _KINDS[field]
    return Elements(np.fromiter(message.values, NUMPY_DTYPES[sent], count), sent)


def _texts(name: str, field: str, message: Any, dtype: DType, count: int) -> Elements:
    _check_list(name, field, message, count)
    return Elements(raw_tensors.texts(message.values[:]), DType.BYTES)


def _blobs(name: str, field: str, message: Any, dtype: DType, count: int) -> Elements:
    _check_list(name, field, message, count)
    texts = [raw_tensors.decode_text(name, index, element) for index, element in enumerate(message.values)]
    return Elements(raw_tensors.texts(texts), DType.BYTES)


_READERS: Mapping[str, Callable[[str, str, Any, DType, int], Elements]] = {
    "floats": _packed,
    "doubles": _packed,
    "integers": _listed,
    "unsigneds": _listed,
    "strings": _texts,
    "blobs": _blobs,
}


def _check_count(name: str, field: str, message: Any, count: int) -> None:
    if len(message.values) != count:
        raise InvalidInputError(name, f"expected {count} elements in {field}, found {len(message.values)}")


def _check_list(name: str, field: str, message: Any, count: int) -> None:
    _check_count(name, field, message, count)
    if count > raw_tensors.MOST_ELEMENTS:  # which are taken out one by one
        most = f"at most {raw_tensors.MOST_ELEMENTS} may be in {field}; numbers may be any in raw"
        raise InvalidInputError(name, f"found {count} elements; {most}")


def _short(name: str) -> str:
    return name if len(name) <= NAME_LIMIT else f"{name[:NAME_LIMIT]}..."


# ---------------------------------------------------------------- answers


def encode(prediction: Prediction) -> list[pb.NamedTensor]:
    """Return the outputs wanted, in the order wanted."""
    datatypes = arrange(prediction.signature).output_datatypes
    return [_tensor(name, DType(datatypes[name]), array) for name, array in prediction.outputs.items()]


def _tensor(name: str, dtype: DType, array: Array) -> pb.NamedTensor:
    tensor = pb.NamedTensor(name=name, datatype=dtype.value, shape=array.shape)
    field = FIELDS[dtype]
    if field == "floats":
        floats = fp32_of(array) if dtype is DType.BF16 else array
        tensor.floats.CopyFrom(features_pb2.FloatValues.FromString(_written(floats, DType.FP32)))
    elif field == "doubles":
        tensor.doubles.CopyFrom(pb.DoubleValues.FromString(_written(array, DType.FP64)))
    elif field == "integers":
        tensor.integers.values.extend(array.astype(np.int64, copy=False).ravel().tolist())
    elif field == "unsigneds":
        tensor.unsigneds.values.extend(array.ravel().tolist())
    else:
        tensor.strings.values.extend(array.ravel().tolist())
    getattr(tensor, field).SetInParent()  # also where there are none
    return tensor


def _written(array: Array, dtype: DType) -> bytes:
    """Return a message of packed floats: to take them as a list would cost twenty times as much."""
    raw = array.astype(NUMPY_DTYPES[dtype], copy=False).tobytes()
    return typed.packed_header(len(raw)) + raw if raw else b""
