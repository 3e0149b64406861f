"""Requests of the Open Inference Protocol, made before a run: from a model's signature, or from a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from struct import Struct as Packed
from typing import Any, NamedTuple

import msgspec
import numpy as np
from google.protobuf.message import DecodeError

from turnout_server.load.connection import CallError
from turnout_server.load.stubs import pb
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array, bf16_of

_LENGTH = Packed("<I")
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath")
MAX_BYTES = 256 * 1024 * 1024
"""How much memory requests may take, all together."""


class MessageError(ValueError):
    """A request cannot be made: a file or a signature is wrong; its text says where and how."""


class Input(NamedTuple):
    """An input that a model takes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """-1 is any size."""


class Tensor(NamedTuple):
    """One input of one request."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes
    """The elements, as the protocol's raw contents."""


class Request(NamedTuple):
    """One request, without whom it goes to."""

    tensors: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, bool | int | float | str] = {}
    id: str = ""


def metadata_request(route: str, version: str) -> bytes:
    """Return the serialised ModelMetadataRequest that asks for a route's signature."""
    return pb.ModelMetadataRequest(name=route, version=version).SerializeToString()


def signature(metadata: bytes) -> tuple[Input, ...]:
    """Read the inputs from a serialised ModelMetadataResponse.

    Raises:
        CallError: it is no such message.
    """
    try:
        response = pb.ModelMetadataResponse.FromString(metadata)
    except DecodeError as error:
        raise CallError("INTERNAL", f"the answer is no ModelMetadataResponse: {error}") from error
    return tuple(Input(one.name, one.datatype, tuple(one.shape)) for one in response.inputs)


def serialised(route: str, version: str, requests: Sequence[Request], units: int = 0) -> tuple[bytes, ...]:
    """Return *requests* as ModelInferRequest messages, with their tensors as raw contents.

    Args:
        route: the route or model that they go to.
        version: a number or label that they are pinned to; empty for none.
        requests: at least one.
        units: how many units they are spread over, by the parameter `unit_id`; 0 sets none. Where there are more units
            than requests, requests are repeated.

    Raises:
        MessageError: all together would take more than `MAX_BYTES`.
    """
    count = max(len(requests), units)
    largest = max(sum(len(tensor.raw) for tensor in request.tensors) for request in requests)
    if largest * count > MAX_BYTES:
        raise MessageError(f"{count} requests of {largest:,} bytes are more than {MAX_BYTES:,}; take fewer")
    return tuple(
        _message(route, version, requests[number % len(requests)], f"unit-{number % units}" if units else "")
        for number in range(count)
    )


def _message(route: str, version: str, request: Request, unit: str) -> bytes:
    message = pb.ModelInferRequest(model_name=route, model_version=version, id=request.id)
    for name, value in request.parameters.items():
        _set(message.parameters[name], value)
    if unit:
        message.parameters["unit_id"].string_param = unit
    for tensor in request.tensors:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_input_contents.append(tensor.raw)
    for name in request.outputs:
        message.outputs.add(name=name)
    return message.SerializeToString()


def _set(parameter: pb.InferParameter, value: bool | int | float | str) -> None:
    match value:
        case bool():
            parameter.bool_param = value
        case int():
            parameter.int64_param = value
        case float():
            parameter.double_param = value
        case str():
            parameter.string_param = value


# ---------------------------------------------------------------- made up


def made_up(inputs: Sequence[Input], *, rows: int, axis: int, count: int, seed: int) -> list[Request]:
    """Return *count* requests that fit *inputs*, or fewer where they are large; the same seed makes the same ones.

    Numbers are from a normal distribution, integers from 1 to 9, BYTES short words.

    Args:
        inputs: the model's.
        rows: what a free first axis becomes.
        axis: what other free axes become.
        count: how many.
        seed: of the randomness.

    Raises:
        MessageError: an input's datatype is unknown, or one request would take more than `MAX_BYTES`.
    """
    shapes = [_filled(one.shape, rows, axis) for one in inputs]
    size = sum(math.prod(shape) * _dtype(one).itemsize for one, shape in zip(inputs, shapes, strict=True))
    if size > MAX_BYTES:
        raise MessageError(f"a request would have {size:,} bytes; at most {MAX_BYTES:,} are allowed; take fewer rows")
    count = min(count, MAX_BYTES // max(size, 1))
    random = np.random.default_rng(seed)
    words = Random(seed)
    return [
        Request(
            tuple(
                Tensor(one.name, one.datatype, shape, _made_up(one, math.prod(shape), random, words))
                for one, shape in zip(inputs, shapes, strict=True)
            )
        )
        for _ in range(count)
    ]


def _filled(shape: tuple[int, ...], rows: int, axis: int) -> tuple[int, ...]:
    return tuple(size if size >= 0 else axis if place else rows for place, size in enumerate(shape))


def _dtype(tensor: Input) -> np.dtype[Any]:
    try:
        return NUMPY_DTYPES[tensor.datatype]
    except KeyError:
        raise MessageError(f"input {tensor.name!r}: unknown datatype {tensor.datatype!r}") from None


def _made_up(tensor: Input, count: int, random: np.random.Generator, words: Random) -> bytes:
    if tensor.datatype == "BF16":
        return bf16_of(random.standard_normal(count)).tobytes()
    dtype = _dtype(tensor)
    match dtype.kind:
        case "O":
            return _texts(words.choices(_WORDS, k=count))
        case "b":
            return random.integers(0, 2, count).astype(dtype).tobytes()
        case "f":
            return random.standard_normal(count).astype(dtype).tobytes()
    return random.integers(1, 10, count).astype(dtype).tobytes()


def _texts(elements: Sequence[str]) -> bytes:
    return b"".join(_LENGTH.pack(len(raw)) + raw for raw in (text.encode() for text in elements))


# ---------------------------------------------------------------- from a file


class _Tensor(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] = {}


class _Output(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    parameters: dict[str, Any] = {}


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[_Tensor]
    outputs: list[_Output] = []
    parameters: dict[str, bool | int | float | str] = {}
    id: str = ""


def from_json(text: str | bytes) -> list[Request]:
    """Read requests as the Open Inference Protocol's REST API takes them: one body, or a list of bodies.

    Tensors' `data` may be nested or flat; BYTES are texts.

    Raises:
        MessageError: it is no such JSON, or a tensor's data do not fit its datatype or shape.
    """
    try:
        found = msgspec.json.decode(text, type=_Body | list[_Body])
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(str(error)) from error
    bodies = found if isinstance(found, list) else [found]
    if not bodies:
        raise MessageError("no request in it")
    return [_request(body) for body in bodies]


def _request(body: _Body) -> Request:
    names = tuple(output.name for output in body.outputs)
    return Request(tuple(_tensor(one) for one in body.inputs), names, body.parameters, body.id)


def _tensor(tensor: _Tensor) -> Tensor:
    if tensor.datatype not in NUMPY_DTYPES:
        known = ", ".join(NUMPY_DTYPES)
        raise MessageError(f"input {tensor.name!r}: found datatype {tensor.datatype!r}; allowed are {known}")
    if any(size < 0 for size in tensor.shape):
        raise MessageError(f"input {tensor.name!r}: found shape {tensor.shape}; a request's sizes are 0 or more")
    elements = list(_flat(tensor.data))
    if len(elements) != math.prod(tensor.shape):
        raise MessageError(
            f"input {tensor.name!r}: expected {math.prod(tensor.shape)} elements by its shape, found {len(elements)}"
        )
    return Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), _raw(tensor, elements))


def _flat(data: list[Any]) -> list[Any]:
    found: list[Any] = []
    for one in data:
        if isinstance(one, list):
            found += _flat(one)
        else:
            found.append(one)
    return found


def _raw(tensor: _Tensor, elements: list[Any]) -> bytes:
    dtype = NUMPY_DTYPES[tensor.datatype]
    is_bf16 = tensor.datatype == "BF16"
    allowed: tuple[type, ...] = (
        (float, int) if is_bf16 else {"O": (str,), "b": (bool,), "f": (float, int)}.get(dtype.kind, (int,))
    )
    for one in elements:
        if type(one) not in allowed:
            raise MessageError(f"input {tensor.name!r}: found {one!r} among elements of datatype {tensor.datatype}")
    if dtype.hasobject:
        return _texts(elements)
    try:
        array: Array = bf16_of(np.array(elements, np.float32)) if is_bf16 else np.array(elements, dtype)
    except OverflowError as error:
        raise MessageError(f"input {tensor.name!r}: an element does not fit {tensor.datatype}: {error}") from error
    return array.tobytes()
