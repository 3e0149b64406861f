"""What the tests of the Open Inference Protocol share: a fake call, a fake data plane, and messages built by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from struct import pack
from typing import Any

import numpy as np

from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.errors import TurnoutError, UnknownOutputError
from turnout_server.vocabulary.query import Prediction, Query
from turnout_server.vocabulary.record import Timing
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import Array

DTYPES = tuple(dtype.value for dtype in DType)
FIELDS = {
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
NUMPY = {
    "BOOL": np.bool_,
    "FP16": np.float16,
    "BF16": np.uint16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": object,
} | {f"{sign}INT{bits}": np.dtype(f"{sign.lower()}int{bits}").type for sign in ("", "U") for bits in (8, 16, 32, 64)}


@dataclass
class FakeCall:
    metadata: Mapping[str, str] = field(default_factory=dict)
    deadline: float | None = None
    address: str = "127.0.0.1:1"
    principal: str = ""


def identity(*specs: tuple[str, str, tuple[int, ...]], batched: bool = True) -> Signature:
    """Return the signature of a graph that gives back its inputs."""
    tensors = tuple(TensorSpec(name, DType(dtype), shape) for name, dtype, shape in specs)
    return Signature(inputs=tensors, outputs=tensors, batched=batched)


def raw_bytes(array: Array) -> bytes:
    """Return what tritonclient would send for *array*."""
    if array.dtype.hasobject:
        elements = [str(element).encode() for element in array.ravel()]
        return b"".join(pack("<I", len(element)) + element for element in elements)
    return array.tobytes()


def request_of(
    arrays: Mapping[str, Array], datatypes: Mapping[str, str], *, typed: bool = False, **fields: Any
) -> pb.ModelInferRequest:
    """Return a request with *arrays*, raw or typed."""
    request = pb.ModelInferRequest(**{"model_name": "m", **fields})
    for name, array in arrays.items():
        tensor = request.inputs.add(name=name, datatype=datatypes[name], shape=array.shape)
        if not typed:
            request.raw_input_contents.append(raw_bytes(array))
            continue
        elements = array.ravel().tolist()
        if datatypes[name] == "BYTES":
            elements = [element.encode() for element in elements]
        tensor.contents.SetInParent()
        getattr(tensor.contents, FIELDS[datatypes[name]]).extend(elements)
    return request


def fp32_request(*values: float, **fields: Any) -> pb.ModelInferRequest:
    """Return a raw request of one FP32 input `x` of shape [n, 1]."""
    return request_of({"x": np.array(values, np.float32).reshape(-1, 1)}, {"x": "FP32"}, **fields)


def response_arrays(response: pb.ModelInferResponse) -> dict[str, Array]:
    """Read a response the way that tritonclient does: raw contents by position, else typed."""
    arrays = {}
    for index, output in enumerate(response.outputs):
        dtype = NUMPY[output.datatype]
        if index < len(response.raw_output_contents):
            data = response.raw_output_contents[index]
            flat = _texts(data) if output.datatype == "BYTES" else np.frombuffer(data, dtype)
        else:
            elements = getattr(output.contents, FIELDS[output.datatype])
            flat = np.array([e.decode() if isinstance(e, bytes) else e for e in elements], dtype)
        arrays[output.name] = flat.reshape(tuple(output.shape))
    return arrays


def _texts(data: bytes) -> Array:
    elements = []
    while data:
        length = int.from_bytes(data[:4], "little")
        elements.append(data[4 : 4 + length].decode())
        data = data[4 + length :]
    return np.array(elements, dtype=object)


class Echo:
    """A data plane whose only model gives back its inputs."""

    def __init__(self, signature: Signature | None = None) -> None:
        self.signature = signature or identity(("x", "FP32", (-1, 1)))
        self.queries: list[Query] = []
        self.error: TurnoutError | None = None
        self.gates: dict[str, asyncio.Event] = {}
        """Requests for these names wait for their event."""
        self.waiting: list[str] = []
        self.cancelled: list[str] = []

    async def infer(self, query: Query) -> Prediction:
        self.queries.append(query)
        if query.name in self.gates:
            self.waiting.append(query.name)
            try:
                await self.gates[query.name].wait()
            except asyncio.CancelledError:
                self.cancelled.append(query.name)
                raise
        if self.error is not None:
            raise self.error
        arrays = query.prepare(self.signature)
        known = tuple(spec.name for spec in self.signature.outputs)
        for name in query.outputs:
            if name not in known:
                raise UnknownOutputError(name, known)
        return predicted({name: arrays[name] for name in query.outputs or known}, self.signature)


def predicted(outputs: dict[str, Array], signature: Signature, decision: Decision | None = None) -> Prediction:
    """Return a prediction."""
    decision = decision or Decision("price", "canary", "diamonds", 7, Reason.SPLIT, "canary", -1, 0.25)
    return Prediction(outputs, decision, "the-request", signature, Timing(0, 0, 0, 0, 1, 0))


def texts(elements: Sequence[str], shape: tuple[int, ...]) -> Array:
    """Return an object array of *elements*."""
    array = np.empty(len(elements), dtype=object)
    array[:] = list(elements)
    return array.reshape(shape)
