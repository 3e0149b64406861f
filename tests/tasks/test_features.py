"""Named columns become the signature's arrays, or an error that names the feature."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.tasks import features
from turnout_server.tasks.features import FeatureColumn, Note, Odd, collect, pack, places
from turnout_server.vocabulary.errors import (
    InvalidFeatureError,
    InvalidInputError,
    InvalidModelError,
    InvalidRequestError,
    MissingFeatureError,
    UnknownFeatureError,
)
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array

NAN = math.nan


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def integers(*values: int) -> Array:
    return np.array(values, np.int64)


def text(*values: str) -> Array:
    return np.array(values, object)


def signature(*inputs: TensorSpec) -> Signature:
    return Signature(inputs=inputs, outputs=())


def vector(name: str, dtype: DType = DType.FP32, default: Any = None, shape: tuple[int, ...] = (-1, 1)) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape, default=default)


def matrix(*columns: Column, dtype: DType = DType.FP32, rows: int = -1) -> TensorSpec:
    return TensorSpec(name="features", dtype=dtype, shape=(rows, len(columns)), columns=columns)


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize(("shape", "expected"), [((-1,), [1.5, 2.5]), ((-1, 1), [[1.5], [2.5]])])
def test_an_input_of_one_feature_has_its_name_and_keeps_its_rank(shape: tuple[int, ...], expected: list[Any]) -> None:
    packed = pack(signature(vector("carat", shape=shape)), {"carat": floats(1.5, 2.5)}, 2)
    assert packed["carat"].tolist() == expected
    assert packed["carat"].dtype == np.float32


def test_a_matrix_has_its_columns_in_the_signatures_order() -> None:
    packed = pack(signature(matrix(Column("a"), Column("b"))), {"b": integers(3, 4), "a": floats(1, 2)}, 2)
    assert packed["features"].tolist() == [[1, 3], [2, 4]]
    assert packed["features"].dtype == np.float32
    assert packed["features"].flags.c_contiguous


def test_a_single_value_stands_for_all_rows() -> None:
    packed = pack(
        signature(matrix(Column("a"), Column("b")), vector("cut", DType.BYTES)),
        {"a": floats(7), "b": floats(1, 2, 3), "cut": text("ideal")},
        3,
    )
    assert packed["features"].tolist() == [[7, 1], [7, 2], [7, 3]]
    assert packed["cut"].tolist() == [["ideal"]] * 3


def test_no_rows_make_empty_arrays_of_the_right_shape() -> None:
    packed = pack(
        signature(matrix(Column("a"), Column("b", 1.0)), vector("c", shape=(-1,))), {"a": floats(), "c": floats(1)}, 0
    )
    assert packed["features"].shape == (0, 2)
    assert packed["c"].shape == (0,)


def test_a_feature_that_two_inputs_take_goes_into_both() -> None:
    packed = pack(signature(matrix(Column("a"), Column("b", 0.0)), vector("a")), {"a": floats(1, 2)}, 2)
    assert packed["features"][:, 0].tolist() == [1, 2]
    assert packed["a"].tolist() == [[1], [2]]


def test_what_is_packed_is_new_memory() -> None:
    given_values = floats(1, 2)
    packed = pack(signature(vector("a", shape=(-1,))), {"a": given_values}, 2)
    assert not np.shares_memory(packed["a"], given_values)


@given(data=st.data())
def test_a_packed_matrix_equals_one_filled_value_by_value(data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 6), label="rows")
    width = data.draw(st.integers(1, 6), label="width")
    defaults = data.draw(st.lists(st.none() | st.floats(-1e6, 1e6), min_size=width, max_size=width), label="defaults")
    names = [f"f{position}" for position in range(width)]
    columns: dict[str, Array] = {}
    for name, default in zip(names, defaults, strict=True):
        if default is not None and data.draw(st.booleans(), label=f"leave out {name}"):
            continue
        length = data.draw(st.sampled_from([1, rows]), label=f"length of {name}")
        if data.draw(st.booleans(), label=f"{name} is float"):
            columns[name] = floats(*data.draw(st.lists(st.floats(width=32), min_size=length, max_size=length)))
        else:
            whole = st.integers(-(2**63), 2**63 - 1)
            columns[name] = integers(*data.draw(st.lists(whole, min_size=length, max_size=length)))

    packed = pack(signature(matrix(*map(Column, names, defaults))), columns, rows)["features"]

    naive = np.zeros((rows, width), np.float32)
    for row in range(rows):
        for position, (name, default) in enumerate(zip(names, defaults, strict=True)):
            values = columns.get(name)
            value = NAN if values is None else values[0 if len(values) == 1 else row].item()
            naive[row, position] = default if math.isnan(value) and default is not None else value
    np.testing.assert_array_equal(packed, naive)
    assert packed.dtype == np.float32


# ---------------------------------------------------------------- what is left out


def test_a_feature_left_out_has_its_default_in_every_row() -> None:
    packed = pack(
        signature(
            matrix(Column("a"), Column("b", 0.5)),
            vector("cut", DType.BYTES, "good"),
            vector("count", DType.INT64, 3),
            vector("new", DType.BOOL, True),
        ),
        {"a": floats(1, 2)},
        2,
    )
    assert packed["features"].tolist() == [[1, 0.5], [2, 0.5]]
    assert packed["cut"].tolist() == [["good"]] * 2
    assert packed["count"].tolist() == [[3], [3]]
    assert packed["new"].tolist() == [[True], [True]]


def test_a_feature_left_out_without_default_is_named() -> None:
    with pytest.raises(MissingFeatureError, match="'b'"):
        pack(signature(matrix(Column("a"), Column("b"))), {"a": floats(1)}, 1)


def test_all_features_left_out_without_defaults_are_named_whichever_inputs_they_are_in() -> None:
    taken = signature(vector("carat"), matrix(Column("a"), Column("b"), Column("c", 1.0)), vector("cut", DType.BYTES))
    with pytest.raises(MissingFeatureError, match="features 'carat', 'b', 'cut' are missing and") as caught:
        pack(taken, {"a": floats(1)}, 1)
    assert caught.value.details == {"feature": "carat"}


def test_an_unknown_feature_is_named_with_those_that_are_known() -> None:
    with pytest.raises(UnknownFeatureError, match=r"'colour'.*'a', 'b', 'carat'") as caught:
        pack(signature(matrix(Column("a"), Column("b")), vector("carat")), {"a": floats(1), "colour": floats(1)}, 1)
    assert caught.value.details == {"feature": "colour"}


def test_a_matrix_itself_is_no_feature() -> None:
    with pytest.raises(UnknownFeatureError, match="'features'"):
        pack(signature(matrix(Column("a", 0.0))), {"features": floats(1)}, 1)


def test_a_nan_is_a_missing_value_so_the_default_takes_its_place() -> None:
    packed = pack(signature(matrix(Column("a", 9.0), Column("b"))), {"a": floats(1, NAN), "b": floats(NAN, 2)}, 2)
    assert packed["features"][:, 0].tolist() == [1, 9]


def test_a_nan_without_default_goes_to_the_graph() -> None:
    packed = pack(
        signature(matrix(Column("a", 9.0), Column("b")), vector("c")),
        {"a": floats(1), "b": floats(NAN), "c": floats(NAN)},
        1,
    )
    assert np.isnan(packed["features"][0, 1])
    assert np.isnan(packed["c"][0, 0])


def test_a_nan_for_integers_needs_a_default() -> None:
    values = floats(1, NAN)
    assert pack(signature(vector("n", DType.INT32, 7)), {"n": values}, 2)["n"].tolist() == [[1], [7]]
    with pytest.raises(InvalidFeatureError, match=r"'n'.*NaN"):
        pack(signature(vector("n", DType.INT32)), {"n": values}, 2)


# ---------------------------------------------------------------- wrong values


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("found", [0, 2, 4])
def test_a_wrong_number_of_values_is_refused(rows: int, found: int) -> None:
    with pytest.raises(InvalidFeatureError, match=f"'a': found {found} values; expected 1"):
        pack(signature(vector("a")), {"a": floats(*range(found))}, rows)


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype is not DType.BYTES])
def test_text_is_no_number(dtype: DType) -> None:
    with pytest.raises(InvalidFeatureError, match=f"'a': found text.*{dtype}"):
        pack(signature(vector("a", dtype)), {"a": text("1")}, 1)


@pytest.mark.parametrize("values", [floats(1), integers(1)])
def test_numbers_are_no_text(values: Array) -> None:
    with pytest.raises(InvalidFeatureError, match="'a': found numbers"):
        pack(signature(vector("a", DType.BYTES)), {"a": values}, 1)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT64, DType.INT64, DType.BOOL])
def test_a_fraction_is_no_whole_number(dtype: DType) -> None:
    assert pack(signature(vector("a", dtype)), {"a": floats(1.0, 0.0)}, 2)["a"].tolist() == [[1], [0]]
    with pytest.raises(InvalidFeatureError, match=r"'a': found 0\.5"):
        pack(signature(vector("a", dtype)), {"a": floats(1, 0.5)}, 2)


WHOLE = [dtype for dtype in DType if dtype.startswith(("INT", "UINT"))]


@given(dtype=st.sampled_from(WHOLE), value=st.integers(-(2**63), 2**63 - 1))
def test_an_integer_arrives_as_it_is_or_is_refused(dtype: DType, value: int) -> None:
    limits = np.iinfo(NUMPY_DTYPES[dtype])
    if limits.min <= value <= limits.max:
        assert pack(signature(vector("a", dtype)), {"a": integers(0, value)}, 2)["a"].tolist() == [[0], [value]]
    else:
        with pytest.raises(InvalidFeatureError, match=f"found {value}; {dtype} is from"):
            pack(signature(vector("a", dtype)), {"a": integers(0, value)}, 2)


@given(dtype=st.sampled_from([*WHOLE, DType.BOOL]), value=st.floats(width=32))
def test_a_float_for_a_whole_number_arrives_as_it_is_or_is_refused(dtype: DType, value: float) -> None:
    low, high = (
        (0, 1) if dtype is DType.BOOL else (np.iinfo(NUMPY_DTYPES[dtype]).min, np.iinfo(NUMPY_DTYPES[dtype]).max)
    )
    if low <= value <= high and value == math.floor(value):
        assert pack(signature(vector("a", dtype)), {"a": floats(value)}, 1)["a"].tolist() == [[int(value)]]
    else:
        with pytest.raises(InvalidFeatureError, match="'a'"):
            pack(signature(vector("a", dtype)), {"a": floats(value)}, 1)


@pytest.mark.parametrize("values", [floats(70_000), integers(70_000), integers(-(2**62))])
def test_a_number_too_large_for_half_precision_is_refused(values: Array) -> None:
    with pytest.raises(InvalidFeatureError, match=r"'a'.*FP16"):
        pack(signature(vector("a", DType.FP16)), {"a": values}, 1)


@pytest.mark.parametrize("dtype", [DType.FP16, DType.FP32, DType.FP64])
def test_infinity_is_a_float(dtype: DType) -> None:
    packed = pack(signature(vector("a", dtype)), {"a": floats(math.inf, -math.inf, 0.5)}, 3)
    assert packed["a"].tolist() == [[math.inf], [-math.inf], [0.5]]
    assert packed["a"].dtype == NUMPY_DTYPES[dtype]


def test_a_name_that_stands_twice_is_refused_in_one_group_and_across_groups() -> None:
    one, other = FeatureColumn("a", floats(1)), FeatureColumn("b", floats(2))
    assert list(collect([one], [other])) == ["a", "b"]
    with pytest.raises(InvalidFeatureError, match="'a': stands twice"):
        collect([one, other, one])
    with pytest.raises(InvalidFeatureError, match="'a': stands twice"):
        collect([one], [other, one])


# ---------------------------------------------------------------- bounds, and models that do not fit


def test_too_many_rows_are_refused_before_memory_is_taken() -> None:
    wide = signature(matrix(*(Column(f"f{position}", 0.0) for position in range(100))))
    with pytest.raises(InvalidRequestError, match="1000000000 rows"):
        pack(wide, {}, 1_000_000_000)
    assert len(pack(signature(vector("a", default=0.0)), {}, features.MAX_ROWS)["a"]) == features.MAX_ROWS


def test_a_long_text_may_stand_for_few_rows_but_not_for_many() -> None:
    one = signature(vector("a", DType.BYTES))
    long = text("x" * (features.MAX_REPEATED_CHARACTERS // 64))
    assert len(pack(one, {"a": long}, 64)["a"]) == 64
    with pytest.raises(InvalidFeatureError, match=r"'a'.*65 rows"):
        pack(one, {"a": long}, 65)


@pytest.mark.parametrize("shape", [(), (1,), (-1, 3), (-1, -1), (-1, 1, 1)])
def test_a_model_with_an_input_that_is_no_feature_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidModelError, match="'image'"):
        pack(signature(vector("image", shape=shape)), {"image": floats(1)}, 1)


def test_a_model_with_a_default_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidModelError, match=r"'b'.*300"):
        pack(signature(matrix(Column("a"), Column("b", 300.0), dtype=DType.INT8)), {"a": floats(1)}, 1)


def test_a_model_for_a_fixed_number_of_rows_takes_only_these() -> None:
    fixed = signature(matrix(Column("a"), rows=2))
    assert pack(fixed, {"a": floats(1)}, 2)["features"].tolist() == [[1], [1]]
    with pytest.raises(InvalidInputError, match="found 3 rows; the model takes exactly 2"):
        pack(fixed, {"a": floats(1)}, 3)


def test_signatures_that_differ_only_in_a_default_are_kept_apart() -> None:
    for default in (1.0, 2.0, None):
        one = signature(vector("a", default=default), vector("b", default=0.0))
        expected = [[NAN if default is None else default]]
        np.testing.assert_array_equal(pack(one, {"a": floats(NAN)}, 1)["a"], expected)


# ---------------------------------------------------------------- what is odd


def notes(given: Signature, columns: dict[str, Array], rows: int) -> list[tuple[str, str, int]]:
    """Return what is odd, with names."""
    return [(name, kind.name, count) for name, kind, count in pack(given, columns, rows).notes]


def test_what_is_left_out_or_nan_is_noted_by_whether_there_is_a_default() -> None:
    taken = signature(matrix(Column("a", 9.0), Column("b"), Column("c", 1.0)), vector("cut", DType.BYTES, "Ideal"))
    columns = {"a": floats(1, NAN, NAN), "b": floats(NAN, 2, 3)}
    assert notes(taken, columns, 3) == [
        ("a", "DEFAULTED", 2),
        ("b", "NAN", 1),
        ("c", "DEFAULTED", 3),
        ("cut", "DEFAULTED", 3),
    ]


def test_whole_numbers_that_were_nan_are_noted() -> None:
    taken = signature(vector("n", DType.INT32, 7), vector("m", DType.INT32, 7))
    assert notes(taken, {"n": floats(1, NAN), "m": integers(1, 2)}, 2) == [("n", "DEFAULTED", 1)]


def test_what_training_has_not_seen_is_noted_and_nan_and_defaults_are_not() -> None:
    taken = signature(
        matrix(Column("a", 99.0, (0.0, 1.0)), Column("b", None, (0.1, 0.2))),
        TensorSpec("n", DType.INT64, (-1,), range=(2.0, 3.0)),
    )
    columns = {"a": floats(0, NAN, 1.5, math.inf), "b": floats(0.1, 0.2, 0.05, 0.15), "n": integers(1, 2, 3, 4)}
    assert notes(taken, columns, 4) == [
        ("a", "DEFAULTED", 1),
        ("a", "OUT_OF_RANGE", 2),
        ("b", "OUT_OF_RANGE", 1),
        ("n", "OUT_OF_RANGE", 2),
    ]


def test_one_value_that_stands_for_all_rows_is_odd_in_all_of_them() -> None:
    taken = signature(matrix(Column("a", 1.0, (0.0, 1.0)), Column("b", 1.0)))
    assert notes(taken, {"a": floats(2), "b": floats(NAN)}, 5) == [("a", "OUT_OF_RANGE", 5), ("b", "DEFAULTED", 5)]


def test_a_range_beyond_the_widths_of_values_has_all_of_them() -> None:
    taken = signature(matrix(Column("a", 1.0, (-1e300, 1e300))))
    assert pack(taken, {"a": floats(3e38, -3e38)}, 2).notes == []


def test_nothing_odd_is_nothing() -> None:
    taken = signature(matrix(Column("a", 1.0, (0.0, 1.0)), Column("b")), vector("c", DType.INT8))
    assert pack(taken, {"a": floats(0.5), "b": floats(1), "c": integers(1)}, 1).notes == []


def test_a_feature_counts_for_each_input_that_takes_it() -> None:
    taken = signature(matrix(Column("a", 1.0)), vector("a", default=2.0))
    assert pack(taken, {}, 2).notes == [Note("a", Odd.DEFAULTED, 2)] * 2
    assert places(taken) == ("a", "a")
    assert places(signature(TensorSpec("x", DType.FP32, (-1, 2)))) == ()
