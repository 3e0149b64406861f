"""Named tensors on the wire and as arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.rpc.turnout_v1.typed_fakes import DECISION
from turnout.v1 import inference_service_pb2 as pb
from turnout_server.rpc.open_inference.raw_tensors import MOST_ELEMENTS
from turnout_server.rpc.turnout_v1 import named_tensors
from turnout_server.rpc.turnout_v1.named_tensors import FIELDS, decode
from turnout_server.tasks.inference import Elements
from turnout_server.vocabulary.errors import InvalidInputError
from turnout_server.vocabulary.query import Prediction
from turnout_server.vocabulary.record import Timing
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array, bf16_of

VALUES: dict[DType, Any] = {
    DType.BOOL: [True, False],
    DType.UINT64: [2**64 - 1, 0],
    DType.INT64: [2**63 - 1, -(2**63)],
    DType.INT8: [-128, 127],
    DType.FP16: [0.5, math.inf],
    DType.FP32: [0.1, math.nan],
    DType.FP64: [0.1, 1e300],
    DType.BYTES: ["漢", ""],
}


def message(field: str, values: Any, datatype: str = "", shape: tuple[int, ...] = (2,)) -> pb.NamedTensor:
    tensor = pb.NamedTensor(name="x", datatype=datatype, shape=shape)
    if field == "raw":
        tensor.raw = values
    else:
        getattr(tensor, field).values.extend(values)
        getattr(tensor, field).SetInParent()
    return tensor


def read(tensor: pb.NamedTensor, dtype: DType = DType.FP32) -> Elements:
    sent = decode(pb.NamedTensor.FromString(tensor.SerializeToString()))
    return sent.read(dtype, math.prod(sent.shape))


def encode(dtype: DType, array: Array) -> pb.NamedTensor:
    signature = Signature((), (TensorSpec("x", dtype, (-1,)),))
    timing = Timing(*[0] * len(Timing._fields))
    (tensor,) = named_tensors.encode(Prediction({"x": array}, DECISION, "r", signature, timing))
    return pb.NamedTensor.FromString(tensor.SerializeToString())


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("field", "values", "dtype"),
    [
        ("floats", [0.1, math.nan], DType.FP32),
        ("doubles", [0.1, -0.0], DType.FP64),
        ("integers", [-(2**63), 2**63 - 1], DType.INT64),
        ("unsigneds", [2**64 - 1, 0], DType.UINT64),
        ("strings", ["a", "漢"], DType.BYTES),
        ("blobs", [b"a", b"\0"], DType.BYTES),
    ],
)
def test_each_field_has_elements_of_its_type(field: str, values: list[Any], dtype: DType) -> None:
    found = read(message(field, values))
    assert (found.dtype, found.values.dtype) == (dtype, NUMPY_DTYPES[dtype])
    meant = [value.decode() if isinstance(value, bytes) else value for value in values]
    np.testing.assert_array_equal(found.values, np.array(meant, NUMPY_DTYPES[dtype]))


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype is not DType.BYTES])
def test_raw_elements_are_of_the_type_stated_or_else_of_the_models(dtype: DType) -> None:
    raw = bytes(2 * NUMPY_DTYPES[dtype].itemsize)
    for tensor in (message("raw", raw, dtype.value), message("raw", raw)):
        found = read(tensor, DType.INT8 if tensor.datatype else dtype)
        assert (found.dtype, found.values.tolist()) == (dtype, [0, 0])


def test_many_floats_are_viewed_and_not_taken_out_one_by_one() -> None:
    values = np.arange(MOST_ELEMENTS + 1, dtype=np.float64)
    for field, width in (("floats", np.float32), ("doubles", np.float64)):
        found = read(message(field, values, shape=(len(values),)))
        assert not found.values.flags.owndata
        np.testing.assert_array_equal(found.values, values.astype(width))


@pytest.mark.parametrize("field", ["integers", "unsigneds"])
def test_what_has_to_be_taken_out_one_by_one_is_bounded(field: str) -> None:
    with pytest.raises(InvalidInputError, match=f"at most {MOST_ELEMENTS} may be in {field}"):
        read(message(field, [0] * (MOST_ELEMENTS + 1), shape=(MOST_ELEMENTS + 1,)))


def test_an_empty_tensor_needs_no_elements() -> None:
    assert read(pb.NamedTensor(name="x", shape=[0, 3])).values.tolist() == []
    with pytest.raises(InvalidInputError, match="'x': has no elements; set raw, floats, doubles"):
        read(pb.NamedTensor(name="x", shape=[1, 3]))


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (message("floats", [1], "float32"), "found datatype 'float32'; expected one of BOOL, UINT8"),
        (message("floats", [1, 2], "INT32"), "INT32 travels in integers or raw, found floats"),
        (message("floats", [1, 2, 3]), "expected 2 elements in floats, found 3"),
        (message("strings", ["a"]), "expected 2 elements in strings, found 1"),
        (message("raw", b"1234567"), r"expected 8 bytes \(2 x 4\), found 7"),
        (message("raw", b"\0\2", "BOOL"), "a BOOL is neither 0 nor 1"),
        (message("raw", b"", "BYTES"), "BYTES are not sent raw; set strings or blobs"),
        (message("blobs", [b"a", b"\xff"]), "element 1 is not UTF-8, from byte 0 on"),
    ],
)
def test_elements_that_are_not_what_they_are_said_to_be_are_refused(tensor: pb.NamedTensor, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^input 'x': {problem}"):
        read(tensor)


def test_bytes_may_be_sent_as_blobs_with_their_type() -> None:
    assert read(message("blobs", [b"a", b"b"], "BYTES")).values.tolist() == ["a", "b"]


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize("dtype", VALUES)
def test_an_answers_elements_are_in_the_field_that_their_type_names(dtype: DType) -> None:
    array = np.array([VALUES[dtype], VALUES[dtype]], NUMPY_DTYPES[dtype])
    tensor = encode(dtype, array[:, ::-1])
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("x", dtype.value, [2, 2])
    assert tensor.WhichOneof("values") == FIELDS[dtype]
    found = np.array(getattr(tensor, FIELDS[dtype]).values[:], NUMPY_DTYPES[dtype]).reshape(2, 2)
    np.testing.assert_array_equal(found, array[:, ::-1])


def test_bf16_is_widened() -> None:
    assert encode(DType.BF16, bf16_of(np.array([1.5, -2.0]))).floats.values[:] == [1.5, -2.0]


@pytest.mark.parametrize("dtype", VALUES)
def test_an_empty_answer_says_of_what(dtype: DType) -> None:
    tensor = encode(dtype, np.empty((0, 3), NUMPY_DTYPES[dtype]))
    assert (tensor.WhichOneof("values"), list(tensor.shape)) == (FIELDS[dtype], [0, 3])
