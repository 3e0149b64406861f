"""What people have becomes features and whole inputs, and what cannot is refused by name."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.fake import array_of, features_of
from turnout import Tensor, inputs, v1

AGE = Tensor("age", "FP32", (-1, 1))
CITY = Tensor("city", "BYTES", (-1, 1))
MATRIX = Tensor("x", "FP32", (-1, 2), ("carat", "depth"))
IMAGE = Tensor("image", "UINT8", (-1, 8, 8))


def read(data: Any) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Return the features and the whole inputs that a server finds."""
    found = inputs.read(data)
    request = v1.InferRequest(features=found.features, feature_matrix=found.matrix, tensors=found.tensors)
    return features_of(request), {one.name: array_of(one).tolist() for one in request.tensors}


TABLE = {"age": [30, 40], "score": [0.5, 1.5], "rate": [0.25, 2.0], "city": ["Berlin", "Rome"]}
ROWS = [dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True)]


@pytest.mark.parametrize(
    "data",
    [
        TABLE,
        ROWS,
        tuple(ROWS),
        pd.DataFrame(TABLE),
        {name: np.array(values) for name, values in TABLE.items()},
        {name: pd.Series(values) for name, values in TABLE.items()},
        {"age": [30, 40], "city": np.array(["Berlin", "Rome"]), ("score", "rate"): np.array([[0.5, 0.25], [1.5, 2.0]])},
        {
            "age": [30, 40],
            "city": pd.Categorical(["Berlin", "Rome"]),
            ("score", "rate"): pd.DataFrame(TABLE)[["score", "rate"]],
        },
        [pd.Series(row) for row in ROWS],
    ],
)
def test_one_table_is_the_same_however_it_is_given(data: Any) -> None:
    assert read(data) == (TABLE, {})


def test_polars_frames_are_tables_too() -> None:
    pl = pytest.importorskip("polars", reason="polars is not among the requirements")
    assert read(pl.DataFrame(TABLE)) == (TABLE, {})
    assert read({name: pl.Series(values) for name, values in TABLE.items()}) == (TABLE, {})
    assert read(pl.DataFrame({"v": [[1.0, 2.0], [3.0, 4.0]]})) == ({}, {"v": [[1.0, 2.0], [3.0, 4.0]]})


@pytest.mark.parametrize(
    ("data", "features", "whole"),
    [
        ({"age": 30, "city": "Berlin"}, {"age": [30], "city": ["Berlin"]}, {}),
        ({"x": [[1, 2], [3, 4]]}, {}, {"x": [[1, 2], [3, 4]]}),
        ({"x": np.ones((1, 2), np.uint8), "k": 3}, {"k": [3]}, {"x": [[1, 1]]}),
        ({"k": np.int64(3), "b": np.bool_(True)}, {"k": [3], "b": [1]}, {}),
        ({"image": b"\xff\xd8"}, {}, {"image": [b"\xff\xd8"]}),
        ({"image": [b"a", b"b"]}, {}, {"image": [b"a", b"b"]}),
        ({"image": np.array([b"a", b"b"])}, {}, {"image": [b"a", b"b"]}),
        ([{"v": [1.0, 2.0]}, {"v": [3.0, 4.0]}], {}, {"v": [[1.0, 2.0], [3.0, 4.0]]}),
        ([{"v": np.ones(2)}, {"v": np.zeros(2)}], {}, {"v": [[1.0, 1.0], [0.0, 0.0]]}),
        (pd.DataFrame({"v": [[1, 2], [3, 4]], "n": [1, 2]}), {"n": [1, 2]}, {"v": [[1, 2], [3, 4]]}),
        (pd.Series({"age": 30, "city": "Berlin"}), {"age": [30], "city": ["Berlin"]}, {}),
        ({"age": None}, {}, {}),
        ({}, {}, {}),
    ],
)
def test_one_axis_is_a_feature_and_more_a_whole_input(data: Any, features: Any, whole: Any) -> None:
    assert read(data) == (features, whole)


def test_a_whole_input_may_have_one_axis() -> None:
    found = inputs.read({"age": 3}, {"box": [1, 2], "n": np.int64(4), "raw": b"x"})
    assert [one.name for one in found.features] == ["age"]
    assert {one.name: array_of(one).tolist() for one in found.tensors} == {"box": [1, 2], "n": 4, "raw": [b"x"]}
    assert inputs.read(None, {"box": [1]}).features == []
    with pytest.raises(TypeError, match="features and inputs are named by text; found 3"):
        inputs.read(None, {3: [1]})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="input 'box' is a DataFrame"):
        inputs.read(None, {"box": pd.DataFrame()})


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        ([{"city": "Rome"}, {"city": None}], ValueError, "feature 'city': row 1 has none"),
        ([{"city": "Rome"}, {}], ValueError, "feature 'city': row 1 has none"),
        (pd.DataFrame({"city": ["Rome", None]}), ValueError, "feature 'city': row 1 has none"),
        (pd.DataFrame({"city": ["Rome", pd.NA]}), ValueError, "feature 'city': row 1 has none"),
        (pd.DataFrame({"city": ["Rome", 3]}), TypeError, "feature 'city': row 1 has 3 where others have text"),
        (pd.DataFrame({"when": pd.to_datetime(["2026-11-05"])}), TypeError, "feature 'when' has datetime64"),
        ([{"age": 1}, 2], TypeError, "row 1 is a int; expected {feature: value}"),
        ([{"v": [1, 2]}, {"v": [1]}], ValueError, "input 'v' is ragged: [1] has shape [1]"),
        ([{"v": [1, 2]}, {}], ValueError, "input 'v': [1] is none"),
        ({"a": [1, 2], "b": [1, 2, 3]}, ValueError, "feature 'b' has 3 values where 'a' has 2"),
        ({"a": [1e39]}, ValueError, "feature 'a': value 0 has 1e+39, which is too large for a 32-bit float"),
        ({"a": {1, 2}}, TypeError, "feature 'a': found a set"),
        ({3: [1]}, TypeError, "features and inputs are named by text; found 3"),
        (
            {"x": pd.DataFrame({"a": [1]})},
            TypeError,
            "input 'x' is a DataFrame; expected an array, such as .to_numpy()",
        ),
        ("age=3", TypeError, "found a str; expected a dict, rows, a DataFrame or an array"),
        ({1, 2}, TypeError, "found a set"),
        ([], TypeError, "found a list"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name_and_row(data: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=re.escape(says)):
        inputs.read(data)


cells = st.one_of(
    st.integers(-(2**31), 2**31), st.floats(width=32, allow_nan=False), st.booleans(), st.text("aé漢", max_size=3)
)


@given(
    st.integers(1, 5).flatmap(
        lambda rows: st.dictionaries(
            st.text("abc", min_size=1, max_size=2),
            cells.map(type).flatmap(
                lambda kind: st.lists(cells.filter(lambda cell: type(cell) is kind), min_size=rows, max_size=rows)
            ),
            max_size=4,
        )
    )
)
def test_frames_rows_and_columns_say_the_same(table: dict[str, list[Any]]) -> None:
    """Whichever way round the same table is given, a server finds the same values in the same places."""
    expected = (table, {})
    assert read(table) == expected
    if table:
        assert read(pd.DataFrame(table)) == expected
        assert read([dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]) == expected


# ---------------------------------------------------------------- without names


@pytest.mark.parametrize(
    ("data", "bare"),
    [
        (np.zeros((2, 2)), True),
        ([[1, 2]], True),
        ([1, 2], True),
        ([{"a": 1}], False),
        ([pd.Series({"a": 1})], False),
        ({"a": 1}, False),
        (pd.DataFrame({"a": [1]}), False),
        (pd.Series({"a": 1}), False),
        ([], False),
        ("text", False),
    ],
)
def test_what_has_no_names_is_told_apart(data: Any, bare: bool) -> None:
    assert inputs.is_bare(data) is bare


@pytest.mark.parametrize(
    ("data", "model", "named"),
    [
        ([[1, 2]], [MATRIX], {"x": [[1, 2]]}),
        ([1, 2], [AGE], {"age": [1, 2]}),
        ([1, 2], [MATRIX], {"x": [1, 2]}),
        ([1, 2, 3, 4], [Tensor("box", "FP32", (4,))], {"box": [1, 2, 3, 4]}),
        ([[1, 2]], [MATRIX, Tensor("k", "INT64", (1,), default=3)], {"x": [[1, 2]]}),
        ([[1, 2]], [Tensor("k", "INT64", (-1,), default=3)], {"k": [[1, 2]]}),
        ([[1, 2, 3]], [AGE, MATRIX], {("age", "carat", "depth"): [[1, 2, 3]]}),
    ],
)
def test_a_bare_array_is_the_only_input_or_a_column_for_each_feature(data: Any, model: Any, named: Any) -> None:
    features, whole = inputs.named(data, model)
    assert {**features, **whole} == named
    assert whole.keys().isdisjoint({"age", ("age", "carat", "depth")})
    assert features.keys().isdisjoint({"x", "box"})
    as_array = inputs.named(np.array(data), model)
    assert {name: values.tolist() for part in as_array for name, values in part.items()} == named


@pytest.mark.parametrize(
    ("data", "model", "error", "says"),
    [
        (np.float32(3), [AGE], TypeError, "found a single value"),
        ([[1, 2]], [AGE, CITY], TypeError, "the model has 2 inputs (age, city); expected a dict"),
        ([[1, 2]], [AGE, IMAGE], TypeError, "the model has 2 inputs (age, image)"),
        ([1, 2], [AGE, MATRIX], TypeError, "the model has 2 inputs (age, x)"),
        ([[1, 2]], [AGE, MATRIX], ValueError, "found 2 columns; the model has 3 features (age, carat, depth)"),
        (np.zeros((0, 2)), [AGE, MATRIX], ValueError, "found 2 columns"),
    ],
)
def test_a_bare_array_that_could_be_anything_is_refused(data: Any, model: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=re.escape(says)):
        inputs.named(data, model)
