"""Whatever goes in comes back; whatever is broken is refused, never worse."""

from __future__ import annotations

import random
import string
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.rpc.inference import DTYPES, NUMPY, FakeCall, identity, predicted, request_of, response_arrays, texts
from turnout_server.rpc.open_inference import codec as codec
from turnout_server.rpc.open_inference.shared_memory import SharedMemory
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.errors import TurnoutError
from turnout_server.vocabulary.tensors import Array

OFF = SharedMemory()
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@st.composite
def arrays_of(draw: st.DrawFn, datatype: str) -> Array:
    shape = draw(SHAPES)
    if datatype != "BYTES":
        return draw(hnp.arrays(NUMPY[datatype], shape))
    size = int(np.prod(shape))
    return texts(draw(st.lists(st.text(max_size=5), min_size=size, max_size=size)), shape)


@pytest.mark.parametrize(
    ("datatype", "typed"),
    [(d, typed) for d in DTYPES for typed in (False, True) if not (typed and d in ("FP16", "BF16"))],
)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_datatype_makes_the_round_trip(datatype: str, typed: bool, data: st.DataObject) -> None:
    array = data.draw(arrays_of(datatype))
    signature = identity(("x", datatype, tuple(-1 for _ in array.shape)), batched=False)
    wire = request_of({"x": array}, {"x": datatype}, typed=typed).SerializeToString()
    request = pb.ModelInferRequest.FromString(wire)
    decoded = codec.decode(request, FakeCall(), OFF).prepare(signature)["x"]
    assert decoded.dtype == np.dtype(NUMPY[datatype])
    np.testing.assert_array_equal(decoded, array)
    response = codec.encode(request, predicted({"x": decoded}, signature), OFF, answers="as_sent")
    answer = response_arrays(pb.ModelInferResponse.FromString(response.SerializeToString()))["x"]
    np.testing.assert_array_equal(answer, array)
    assert bool(response.raw_output_contents) is not typed


MIXED = identity(
    ("f", "FP32", (-1, 2)),
    ("s", "BYTES", (-1,)),
    ("i", "INT8", (-1, -1)),
    ("b", "BOOL", (-1,)),
    ("h", "INT64", (-1, 3)),
)
MIXED_TYPES = {spec.name: spec.dtype.value for spec in MIXED.inputs}
MIXED_ARRAYS: dict[str, Array] = {
    "f": np.ones((2, 2), np.float32),
    "s": texts(["one", "二"], (2,)),
    "i": np.ones((2, 4), np.int8),
    "b": np.array([True, False]),
    "h": np.arange(6).reshape(2, 3),
}
NUMBERS = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 127, 128, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1)
CONTENTS = tuple(field.name for field in pb.InferTensorContents.DESCRIPTOR.fields)
PARAMETERS = ("unit_id", "timeout", "priority", "sequence_id", "binary_data_output", "shared_memory_region", "x")


def mutate(request: pb.ModelInferRequest, dice: random.Random) -> None:
    """Change one thing anywhere in *request*."""
    tensor = dice.choice(request.inputs) if request.inputs else request.inputs.add()
    match dice.randrange(12):
        case 0:
            tensor.shape.append(dice.choice(NUMBERS))
        case 1 if tensor.shape:
            tensor.shape[dice.randrange(len(tensor.shape))] = dice.choice(NUMBERS)
        case 2 if tensor.shape:
            del tensor.shape[dice.randrange(len(tensor.shape))]
        case 3:
            tensor.datatype = dice.choice((*DTYPES, "", "FP8", "\N{SNOWMAN}"))
        case 4:
            tensor.name = dice.choice((*MIXED_TYPES, "", "x" * 10_000))
        case 5:
            request.inputs.append(tensor)
        case 6:
            del request.inputs[dice.randrange(len(request.inputs))]
        case 7 if request.raw_input_contents:
            _mutate_raw(request, dice)
        case 8:
            field = dice.choice(CONTENTS)
            _fill(tensor.contents, field, dice)
        case 9:
            _set_parameter(request.parameters[dice.choice(PARAMETERS)], dice)
        case 10:
            _set_parameter(tensor.parameters[dice.choice(("shared_memory_region", "shared_memory_byte_size"))], dice)
        case 11:
            output = request.outputs.add(name=dice.choice((*MIXED_TYPES, "y")))
            _set_parameter(output.parameters[dice.choice(("classification", "shared_memory_region"))], dice)


def _mutate_raw(request: pb.ModelInferRequest, dice: random.Random) -> None:
    index = dice.randrange(len(request.raw_input_contents))
    data = bytearray(request.raw_input_contents[index])
    match dice.randrange(4):
        case 0:
            data.append(dice.randrange(256))
        case 1 if data:
            data.pop()
        case 2 if data:
            data[dice.randrange(len(data))] = dice.randrange(256)
        case _:
            request.raw_input_contents.append(bytes(data))
    request.raw_input_contents[index] = bytes(data)


def _fill(contents: pb.InferTensorContents, field: str, dice: random.Random) -> None:
    value: Any = dice.choice((0, 1, 127, 128, 2**31 - 1))
    if field == "bytes_contents":
        value = dice.choice((b"", b"a", b"\xff"))
    getattr(contents, field).extend([bool(value) if field == "bool_contents" else value] * dice.randrange(9))


def _set_parameter(parameter: pb.InferParameter, dice: random.Random) -> None:
    match dice.randrange(6):
        case 0:
            parameter.bool_param = dice.random() < 0.5
        case 1:
            parameter.int64_param = dice.choice(NUMBERS)
        case 2:
            parameter.string_param = dice.choice(("", "a", string.printable))
        case 3:
            parameter.double_param = dice.choice((0.0, -1.5, float("nan"), float("inf")))
        case 4:
            parameter.uint64_param = 2**64 - 1
        case _:
            parameter.ClearField("parameter_choice")


@pytest.mark.parametrize("typed", [False, True])
@given(seed=st.integers(0, 2**32), changes=st.integers(1, 4))
@settings(max_examples=500, deadline=None)
def test_a_spoilt_request_is_refused_and_nothing_worse(typed: bool, seed: int, changes: int) -> None:
    dice = random.Random(seed)
    request = request_of(MIXED_ARRAYS, MIXED_TYPES, typed=typed)
    for _ in range(changes):
        mutate(request, dice)
    _use(request)


@given(place=st.integers(0, 10_000), value=st.integers(0, 255), typed=st.booleans())
@settings(max_examples=500, deadline=None)
def test_a_flipped_byte_on_the_wire_is_refused_and_nothing_worse(place: int, value: int, typed: bool) -> None:
    wire = bytearray(request_of(MIXED_ARRAYS, MIXED_TYPES, typed=typed, id="r").SerializeToString())
    wire[place % len(wire)] = value
    try:
        request = pb.ModelInferRequest.FromString(bytes(wire))
    except DecodeError:
        return
    _use(request)


def _use(request: pb.ModelInferRequest) -> None:
    """Decode and answer *request*: every tensor fits its signature, or a TurnoutError says why not."""
    try:
        query = codec.decode(request, FakeCall(), OFF)
        arrays = query.prepare(MIXED)
        outputs = {name: arrays[name] for name in query.outputs or arrays if name in arrays}
        codec.encode(request, predicted(outputs, MIXED), OFF).SerializeToString()
    except TurnoutError as error:
        _check_text(error)
        return
    assert set(arrays) == set(MIXED_TYPES)
    assert len({array.shape[0] for array in arrays.values()}) == 1
    for spec in MIXED.inputs:
        array = arrays[spec.name]
        assert array.dtype == np.dtype(NUMPY[spec.dtype.value])
        assert array.ndim == len(spec.shape)
        assert all(wanted in (-1, found) for wanted, found in zip(spec.shape, array.shape, strict=True))


def _check_text(error: TurnoutError) -> None:
    assert error.message
    assert len(error.message) < 2000
