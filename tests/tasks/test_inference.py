"""Features and tensors become the arrays of any signature, or an error that names what is wrong and expected."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from turnout_server.tasks import features, inference
from turnout_server.tasks.features import Packed
from turnout_server.tasks.inference import MOST_TENSORS, Elements, Tensor, pack, wanted
from turnout_server.vocabulary.errors import (
    IncompleteError,
    InvalidFeatureError,
    InvalidInputError,
    InvalidRequestError,
    TooLargeError,
    UnknownFeatureError,
)
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array, bf16_of, fp32_of

NAN = math.nan
AGE = TensorSpec("age", DType.FP32, (-1, 1))
CITY = TensorSpec("city", DType.BYTES, (-1,), default="Berlin")
IMAGE = TensorSpec("image", DType.FP32, (-1, 2, 2))
MATRIX = TensorSpec("x", DType.FP32, (-1, 2), columns=(Column("a", 7.0), Column("b")))
K = TensorSpec("k", DType.INT64, (1,), default=10)


def signature(*inputs: TensorSpec, **rest: Any) -> Signature:
    return Signature(inputs, (), **rest)


def column(*values: Any) -> Array:
    kind = object if isinstance(values[0], str) else np.int64 if isinstance(values[0], int) else np.float32
    return np.array(values, kind)


def tensor(name: str, array: Any, dtype: DType = DType.FP32, shape: tuple[int, ...] | None = None) -> Tensor:
    values = np.array(array, NUMPY_DTYPES[dtype])

    def read(wanted: DType, count: int) -> Elements:
        assert count == values.size
        return Elements(values.reshape(-1), dtype)

    return Tensor(name, values.shape if shape is None else shape, read)


# ---------------------------------------------------------------- features


def test_what_is_odd_about_features_is_noted_and_whole_inputs_are_none() -> None:
    packed = pack(signature(AGE, CITY, MATRIX, K, IMAGE), {"age": column(NAN, 31.0)}, [
        tensor("x", [[1.0, NAN]] * 2), tensor("image", np.zeros((2, 2, 2))),
    ])  # fmt: skip
    assert isinstance(packed, Packed)
    assert [(name, kind.name, rows) for name, kind, rows in packed.notes] == [
        ("age", "NAN", 1),
        ("city", "DEFAULTED", 2),
        ("k", "DEFAULTED", 1),
    ]
    assert not isinstance(pack(signature(IMAGE), {}, [tensor("image", np.zeros((2, 2, 2)))]), Packed)


def test_features_fill_inputs_of_their_names_and_columns_and_defaults_fill_the_rest() -> None:
    packed = pack(signature(AGE, CITY, MATRIX, K), {"age": column(30.0, 31.0), "b": column(1.0, NAN)}, [])
    assert list(packed) == ["age", "city", "x", "k"]
    assert packed["age"].tolist() == [[30.0], [31.0]]
    assert packed["city"].tolist() == ["Berlin", "Berlin"]
    assert packed["x"][0].tolist() == [7.0, 1.0]
    assert np.isnan(packed["x"][1, 1])
    assert packed["k"].tolist() == [10]
    assert {name: array.dtype for name, array in packed.items()} == {
        "age": np.float32,
        "city": object,
        "x": np.float32,
        "k": np.int64,
    }


def test_a_single_value_stands_for_all_rows() -> None:
    packed = pack(signature(AGE, CITY), {"age": column(1, 2, 3), "city": column("Rome")}, [])
    assert packed["age"].tolist() == [[1], [2], [3]]
    assert packed["city"].tolist() == ["Rome"] * 3


def test_nothing_at_all_is_one_row_of_defaults() -> None:
    assert pack(signature(CITY, K), {}, [])["city"].tolist() == ["Berlin"]


@pytest.mark.parametrize(("shape", "expected"), [((), 5), ((1,), [5]), ((1, 1), [[5]])])
def test_an_input_of_one_element_is_a_feature_that_holds_for_all_rows(shape: tuple[int, ...], expected: Any) -> None:
    k = TensorSpec("k", DType.INT64, shape)
    packed = pack(signature(AGE, k), {"age": column(1.0, 2.0), "k": column(5)}, [])
    assert packed["k"].tolist() == expected
    with pytest.raises(InvalidFeatureError, match="'k': found 2 values; expected 1"):
        pack(signature(AGE, k), {"age": column(1.0, 2.0), "k": column(5, 6)}, [])


def test_a_feature_may_be_a_column_of_several_inputs() -> None:
    other = TensorSpec("y", DType.FP64, (-1, 1), columns=(Column("a"),))
    packed = pack(signature(MATRIX, other), {"a": column(1.0), "b": column(2.0)}, [])
    assert (packed["x"].tolist(), packed["y"].tolist()) == ([[1.0, 2.0]], [[1.0]])


def test_bf16_features_are_rounded_and_have_defaults() -> None:
    half = TensorSpec("h", DType.BF16, (-1,), default=0.5)
    packed = pack(signature(half), {"h": column(1.0, NAN, 3.0)}, [])
    assert fp32_of(packed["h"]).tolist() == [1.0, 0.5, 3.0]
    with pytest.raises(InvalidFeatureError, match="too large for BF16"):
        pack(signature(half), {"h": column(3.4e38)}, [])


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"nobody": column(1.0)}, "no feature named 'nobody'; the model knows 'age', 'city', 'a', 'b'"),
        ({"image": column(1.0)}, r"'image': is an input of shape \[-1, 2, 2\]; send it as a tensor"),
        ({"x": column(1.0)}, "'x': is a matrix; send its columns as features, or all of it as a tensor"),
    ],
)
def test_what_is_no_feature_is_refused_with_what_it_is(given: dict[str, Array], problem: str) -> None:
    with pytest.raises((UnknownFeatureError, InvalidFeatureError), match=problem):
        pack(signature(AGE, CITY, MATRIX, IMAGE), given, [])


def test_a_model_without_features_says_what_it_takes() -> None:
    with pytest.raises(InvalidFeatureError, match="takes no features; send its inputs as tensors: 'image'"):
        pack(signature(IMAGE), {"age": column(1.0)}, [])


def test_too_many_rows_of_features_are_refused() -> None:
    rows = np.zeros(features.MAX_ROWS + 1, np.float32)
    with pytest.raises(InvalidRequestError, match="10001 rows"):
        pack(signature(AGE), {"age": rows}, [])
    shape = (features.MAX_ROWS + 1, 1)
    assert pack(signature(AGE), {}, [tensor("age", rows.reshape(shape))])["age"].shape == shape


# ---------------------------------------------------------------- tensors


def test_tensors_are_whole_inputs_beside_features_of_others() -> None:
    image = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    packed = pack(signature(AGE, IMAGE), {"age": column(1.0)}, [tensor("image", image)])
    assert packed["image"].tolist() == image.tolist()
    assert packed["age"].tolist() == [[1.0], [1.0]], "as many rows as the tensor has"


def test_features_may_be_sent_whole_too() -> None:
    given = [tensor("x", [[1, NAN]]), tensor("age", [[2]]), tensor("city", ["Rome"], DType.BYTES)]
    packed = pack(signature(AGE, CITY, MATRIX), {}, given)
    assert np.isnan(packed["x"][0, 1]), "in a tensor NaN is itself"
    assert (packed["age"].tolist(), packed["city"].tolist()) == ([[2.0]], ["Rome"])


@pytest.mark.parametrize(
    ("array", "sent", "taken"),
    [
        ([1, 2], DType.INT64, DType.FP32),
        ([1, 2], DType.FP32, DType.INT8),
        ([0.1, 2], DType.FP64, DType.FP32),
        ([0.5, NAN], DType.FP32, DType.FP64),
        ([0.5, 2], DType.FP64, DType.FP16),
        ([0, 1], DType.INT64, DType.BOOL),
        ([True, False], DType.BOOL, DType.FP32),
        ([2**63, 1], DType.UINT64, DType.UINT64),
        ([1.5, 2], DType.FP32, DType.BF16),
        (bf16_of(np.array([1.5, 2])), DType.BF16, DType.FP32),
        (bf16_of(np.array([1.5, NAN])), DType.BF16, DType.BF16),
    ],
)
def test_elements_of_another_dtype_are_taken_where_they_fit(array: Any, sent: DType, taken: DType) -> None:
    packed = pack(signature(TensorSpec("x", taken, (-1,))), {}, [tensor("x", array, sent)])["x"]
    assert packed.dtype == NUMPY_DTYPES[taken]
    numbers = fp32_of(packed) if taken is DType.BF16 else packed
    meant = fp32_of(np.array(array)) if sent is DType.BF16 else np.array(array, NUMPY_DTYPES[sent])
    np.testing.assert_allclose(numbers.astype(float), meant.astype(float), rtol=1e-7)


@pytest.mark.parametrize(
    ("array", "sent", "taken", "problem"),
    [
        ([1.5], DType.FP32, DType.INT64, r"found 1\.5; the model takes whole numbers \(INT64\)"),
        ([NAN], DType.FP32, DType.INT64, "found NaN; INT64 has none"),
        ([300], DType.INT64, DType.INT8, "found 300; INT8 is from -128 to 127"),
        ([2], DType.INT64, DType.BOOL, "found 2; BOOL is from 0 to 1"),
        ([2**63], DType.UINT64, DType.INT64, "found 9223372036854775808"),
        ([1e300], DType.FP64, DType.FP32, "a value is too large for FP32"),
        ([65535], DType.UINT16, DType.FP16, "a value is too large for FP16"),
        (["1"], DType.BYTES, DType.FP32, r"found text; the model takes numbers \(FP32\)"),
        ([1], DType.FP32, DType.BYTES, "found numbers; the model takes text"),
    ],
)
def test_elements_that_do_not_fit_are_refused(array: Any, sent: DType, taken: DType, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^input 'x': {problem}"):
        pack(signature(TensorSpec("x", taken, (-1,))), {}, [tensor("x", array, sent)])


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([tensor("nobody", [1])], "'nobody': the model has no such input; it has 'age', 'x', 'image'"),
        ([tensor("a", [1])], "'a': .* it is a column of 'x': send it as a feature"),
        ([tensor("age", [[1]]), tensor("age", [[1]])], "'age': is there twice"),
        ([tensor("age", [1])], r"'age': expected 2 dimensions \[-1, 1\], found 1"),
        ([tensor("age", [[1, 2]])], r"'age': expected shape \[-1, 1\] \(-1 is any size\), found \[1, 2\]"),
        ([tensor("age", [], shape=(-3, 1))], r"found \[-3, 1\]"),
        ([tensor("age", [[1]]), tensor("image", np.zeros((2, 2, 2)))], "'image': has 2 rows, but 'age' has 1"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(given: list[Tensor], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        pack(signature(AGE, MATRIX, IMAGE), {}, given)


def test_claims_of_size_are_not_believed() -> None:
    free = TensorSpec("free", DType.FP32, (-1, -1, -1))
    with pytest.raises(InvalidInputError, match="beyond reason"):
        pack(signature(free), {}, [tensor("free", [], shape=(0, 1 << 12, 1 << 13))])


def test_no_element_is_read_of_what_is_beyond_the_models_bounds() -> None:
    def read(wanted: DType, count: int) -> Elements:
        raise AssertionError("read before its size was known to be allowed")

    free = TensorSpec("free", DType.FP32, (-1, -1))
    with pytest.raises(TooLargeError, match="found 12 elements; one request may have at most 11"):
        pack(signature(free, max_elements=11), {}, [Tensor("free", (3, 4), read)])
    with pytest.raises(TooLargeError, match="found 3 rows"):
        pack(signature(free, AGE, max_rows=2), {"age": column(1.0)}, [Tensor("free", (3, 4), read)])
    with pytest.raises(TooLargeError, match="found 5 elements with those before it"):
        pack(signature(AGE, IMAGE, max_elements=4), {"age": column(1.0)}, [Tensor("image", (1, 2, 2), read)])


def test_no_default_is_repeated_for_rows_that_are_only_claimed() -> None:
    def read(wanted: DType, count: int) -> Elements:
        raise InvalidInputError("x", "has fewer elements")

    wide = TensorSpec("wide", DType.FP64, (-1, 1 << 10, 1 << 10), default=0.0)
    with pytest.raises(InvalidInputError, match="fewer"):
        pack(signature(wide, TensorSpec("x", DType.FP32, (-1, 2))), {}, [Tensor("x", (1 << 40, 2), read)])


# ---------------------------------------------------------------- both


def test_an_input_that_is_there_both_ways_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'age': is there as a tensor and as a feature; send one of them"):
        pack(signature(AGE), {"age": column(1.0)}, [tensor("age", [[1]])])
    with pytest.raises(InvalidInputError, match="'x': is there beside feature 'a'; send one of them"):
        pack(signature(MATRIX), {"a": column(1.0)}, [tensor("x", [[1, 2]])])


def test_columns_have_as_many_values_as_tensors_have_rows() -> None:
    with pytest.raises(InvalidFeatureError, match="'age': found 3 values; expected 1 or 2, as input 'image' has 2"):
        pack(signature(AGE, IMAGE), {"age": column(1.0, 2.0, 3.0)}, [tensor("image", np.zeros((2, 2, 2)))])


def test_tensors_of_a_model_that_is_not_batched_have_rows_of_their_own() -> None:
    one, other = TensorSpec("one", DType.FP32, (-1,)), TensorSpec("other", DType.FP32, (-1,))
    packed = pack(signature(one, other, batched=False), {"one": column(1.0, 2.0)}, [tensor("other", [1, 2, 3])])
    assert (packed["one"].shape, packed["other"].shape) == ((2,), (3,))


def test_all_that_is_missing_is_named_with_what_it_is() -> None:
    with pytest.raises(IncompleteError) as caught:
        pack(signature(AGE, CITY, MATRIX, IMAGE, K), {"a": column(1.0)}, [])
    assert caught.value.message == (
        "feature 'age' (FP32), feature 'b' (FP32) and input 'image' (FP32 [-1, 2, 2]) are missing, "
        "and the model has no defaults for them"
    )
    assert caught.value.details == {"feature": "age", "input": "image"}
    with pytest.raises(
        IncompleteError, match=r"^feature 'age' \(FP32\) is missing, and the model has no default for it$"
    ):
        pack(signature(AGE, K), {}, [])


def test_thousands_of_missing_features_are_counted_rather_than_listed() -> None:
    wide = TensorSpec("x", DType.FP32, (-1, 5000), columns=tuple(Column(f"f{place}") for place in range(5000)))
    with pytest.raises(IncompleteError, match=r"feature 'f15' \(FP32\) and 4984 more are missing"):
        pack(signature(wide), {}, [])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (TensorSpec("d", DType.FP32, (-1, 2, 2), default=0.5), [[[0.5, 0.5], [0.5, 0.5]]] * 2),
        (TensorSpec("d", DType.INT8, (3,), default=4), [4, 4, 4]),
        (TensorSpec("d", DType.BYTES, (2,), default="x"), ["x", "x"]),
    ],
)
def test_inputs_that_are_no_features_have_defaults_too(spec: TensorSpec, expected: Any) -> None:
    packed = pack(signature(AGE, spec), {"age": column(1.0, 2.0)}, [])
    assert packed["d"].tolist() == expected
    assert packed["d"].dtype == NUMPY_DTYPES[spec.dtype]


def test_a_default_without_a_size_is_none() -> None:
    with pytest.raises(IncompleteError, match=r"input 'd' \(FP32 \[-1, -1\]\)"):
        pack(signature(TensorSpec("d", DType.FP32, (-1, -1), default=0.5)), {}, [])


# ---------------------------------------------------------------- outputs


def test_outputs_are_wanted_once_each_and_within_bounds() -> None:
    assert wanted(["b", "a"]) == ("b", "a")
    with pytest.raises(InvalidRequestError, match="output 'a' is wanted twice"):
        wanted(["a", "a"])
    with pytest.raises(InvalidRequestError, match="an output's name has 257 characters"):
        wanted(["x" * 257])
    with pytest.raises(InvalidRequestError, match="outputs: found 10001"):
        wanted([""] * (MOST_TENSORS + 1))
    inference.check_tensors(MOST_TENSORS)
    with pytest.raises(InvalidRequestError, match="tensors: found 10001"):
        inference.check_tensors(MOST_TENSORS + 1)
