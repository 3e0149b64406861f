"""Whole inputs and outputs: every value in its place, and what is no tensor refused by name and place."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.client.fake import answered, array_of
from turnout import tensors, v1

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
arrays = st.one_of(
    hnp.arrays(dtype, shapes)
    for dtype in (hnp.boolean_dtypes(), hnp.integer_dtypes(), hnp.floating_dtypes(sizes=(16, 32, 64)))
)
values = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.booleans())


@given(arrays)
def test_an_array_arrives_as_it_is(array: Any) -> None:
    tensor = tensors.encode("x", array)
    received = array_of(tensor)
    assert received.dtype == array.dtype.newbyteorder("<")
    np.testing.assert_array_equal(received, array)
    assert tensors.axes(array) == array.ndim


@given(
    shapes.flatmap(
        lambda shape: st.tuples(st.just(shape), st.lists(values, min_size=math.prod(shape), max_size=math.prod(shape)))
    )
)
def test_lists_arrive_as_numpy_would_read_them(drawn: tuple[tuple[int, ...], list[Any]]) -> None:
    shape, flat = drawn
    lists = tensors.nested(flat, shape)
    tensor = tensors.encode("x", lists)
    if 0 not in shape:
        assert tuple(tensor.shape) == shape
        assert tensors.axes(lists) == len(shape)
    assert array_of(tensor).ravel().tolist() == np.array(flat).tolist() or set(map(type, flat)) == {bool, int}


@given(arrays)
def test_an_answer_is_read_as_it_was_written(array: Any) -> None:
    native = array.astype(array.dtype.newbyteorder("="))
    read = tensors.decode(answered("y", native))
    assert read.dtype == native.dtype
    np.testing.assert_array_equal(read, native)


@given(arrays)
def test_without_numpy_an_answer_is_the_same_in_lists(array: Any) -> None:
    native = array.astype(array.dtype.newbyteorder("="))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "_numpy", lambda: None)
        read = tensors.decode(answered("y", native))
    np.testing.assert_array_equal(np.array(read, native.dtype).reshape(native.shape), native)
    assert "numpy" not in {type(read).__module__}
    if native.ndim and native.size:
        assert isinstance(read, list)


@pytest.mark.parametrize(
    ("given", "field", "shape"),
    [
        ([["a"], ["b"]], "strings", (2, 1)),
        (np.array([["a", "b"]]), "strings", (1, 2)),
        ([[b"\xff"]], "blobs", (1, 1)),
        (np.array([b"ab"]), "blobs", (1,)),
        ([[1, 2.5]], "doubles", (1, 2)),
        ([[2**64 - 1]], "unsigneds", (1, 1)),
        ([[True]], "raw", (1, 1)),
        ([np.float32([1, 2]), np.float32([3, 4])], "doubles", (2, 2)),
        ([[], []], None, (2, 0)),
        (np.zeros((0, 3), object), None, (0, 3)),
        ([[np.int8(1)]], "integers", (1, 1)),
        ([pd.Series([1, 2])], "integers", (1, 2)),
    ],
)
def test_a_field_is_chosen_by_the_values(given: Any, field: str | None, shape: tuple[int, ...]) -> None:
    tensor = tensors.encode("x", given)
    assert (tensor.WhichOneof("values"), tuple(tensor.shape)) == (field, shape)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ([[1, 2], [3]], ValueError, "input 'x' is ragged: [1] has shape [1] where [0] has shape [2]"),
        ([[1, 2], 3], ValueError, "input 'x' is ragged: [1] has a single value where [0] has shape [2]"),
        ([[[1], [2]], [[3], []]], ValueError, "input 'x' is ragged: [1, 1] has shape [0] where [1, 0] has shape [1]"),
        ([[1, None]], ValueError, "input 'x': [0, 1] is none; a whole input has no missing values"),
        ([[1, "a"]], TypeError, "input 'x': [0, 1] is 'a' where others are like 1"),
        ([["a", b"a"]], TypeError, "input 'x': [0, 1] is b'a' where others are like 'a'"),
        ([[1.0], [Decimal(1)]], TypeError, "input 'x': [1, 0] is a Decimal; expected numbers, text or bytes"),
        ([[pd.NA]], TypeError, "input 'x': [0, 0] is a NAType"),
        ([[np.datetime64(1, "ns")]], TypeError, "input 'x': [0, 0] is a datetime64"),
        ([[{}]], TypeError, "input 'x': [0, 0] is a dict"),
        ([[2**64]], ValueError, "input 'x': Value out of range"),
        ([[-1, 2**63]], ValueError, "input 'x': Value out of range"),
        ([["\ud800"]], ValueError, "input 'x': 'utf-8' codec"),
        (np.zeros((1, 1), complex), TypeError, "input 'x' is an array of complex128"),
        (np.zeros((1, 1), "datetime64[ns]"), TypeError, "input 'x' is an array of datetime64[ns]"),
        (np.array([[1, None]]), ValueError, "input 'x': [0, 1] is none"),
        (np.ma.masked_array([[1.0, 2.0]], [[False, True]]), ValueError, "input 'x': [0, 1] is none"),
    ],
)
def test_what_is_no_tensor_is_refused_by_name_and_place(given: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=re.escape(says)):
        tensors.encode("x", given)


def test_lists_without_end_end() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested more than 32 deep"):
        tensors.encode("x", endless)


@pytest.mark.parametrize(
    ("tensor", "dtype", "plain"),
    [
        (v1.NamedTensor(datatype="BOOL", shape=[2], integers=v1.IntegerValues(values=[0, 1])), "bool", [False, True]),
        (v1.NamedTensor(datatype="BF16", shape=[1], floats=v1.FloatValues(values=[1.5])), "float32", [1.5]),
        (v1.NamedTensor(datatype="FP16", shape=[1], floats=v1.FloatValues(values=[1.5])), "float16", [1.5]),
        (v1.NamedTensor(datatype="BYTES", shape=[1], strings=v1.StringValues(values=["é"])), "object", ["é"]),
        (v1.NamedTensor(datatype="BYTES", shape=[1], blobs=v1.BytesValues(values=[b"\xff"])), "object", [b"\xff"]),
        (v1.NamedTensor(datatype="UINT8", shape=[0, 2]), "uint8", []),
        (v1.NamedTensor(datatype="FP32", shape=[], floats=v1.FloatValues(values=[2.0])), "float32", 2.0),
    ],
)
def test_every_type_of_an_answer(
    tensor: v1.NamedTensor, dtype: str, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = tensors.decode(tensor)
    assert (array.dtype, array.shape, array.tolist()) == (np.dtype(dtype), tuple(tensor.shape), plain)
    monkeypatch.setattr(tensors, "_numpy", lambda: None)
    assert tensors.decode(tensor) == plain
