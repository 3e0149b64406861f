"""Python values become columns, and what cannot is refused by name."""

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

from turnout import features, v1

floats32 = st.floats(width=32, allow_nan=False)
integers64 = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]))


def read(columns: list[v1.FeatureColumn]) -> dict[str, tuple[str | None, list[Any]]]:
    """Return what a server would find: by name, the kind and the values."""
    kinds = {column.name: column.WhichOneof("values") for column in columns}
    return {
        column.name: (kinds[column.name], list(getattr(column, kinds[column.name] or "").values)) for column in columns
    }


@pytest.mark.parametrize(
    ("values", "kind", "sent"),
    [
        ([1, 2], "integers", [1, 2]),
        ([1.5, 2], "floats", [1.5, 2.0]),
        ([True, False], "integers", [1, 0]),
        ([True, 0.5], "floats", [1.0, 0.5]),
        (["a", "b"], "strings", ["a", "b"]),
        (("a", "b"), "strings", ["a", "b"]),
        ("a", "strings", ["a"]),
        (7, "integers", [7]),
        (range(3), "integers", [0, 1, 2]),
        (np.array([1, 2], np.int16), "integers", [1, 2]),
        (np.array([1.5, 2], np.float16), "floats", [1.5, 2.0]),
        (np.array([True, False]), "integers", [1, 0]),
        (np.array(["a", "b"]), "strings", ["a", "b"]),
        (np.float32(1.5), "floats", [1.5]),
        (np.array(3), "integers", [3]),
        ([np.int64(1), np.float32(0.5)], "floats", [1.0, 0.5]),
        ([np.str_("a"), "b"], "strings", ["a", "b"]),
        ([np.bool_(True)], "integers", [1]),
        (pd.Series([1, 2]), "integers", [1, 2]),
        (pd.Series([1.5, 2], dtype="float32"), "floats", [1.5, 2.0]),
        (pd.Series(["a", "b"], dtype="category"), "strings", ["a", "b"]),
        (pd.array([1, 2], dtype="Int64"), "integers", [1, 2]),
        ([3.4028234663852886e38], "floats", [3.4028234663852886e38]),
        ([math.inf], "floats", [math.inf]),
    ],
)
def test_a_column_is_sent_as_what_its_values_are(values: Any, kind: str, sent: list[Any]) -> None:
    assert read(features.from_columns({"x": values})) == {"x": (kind, sent)}


def test_a_missing_number_is_sent_as_nan() -> None:
    rows = [{"price": 1}, {}, {"price": None}]
    kind, values = read(features.from_rows(rows))["price"]
    assert kind == "floats"
    assert values[0] == 1.0
    assert math.isnan(values[1])
    assert math.isnan(values[2])


def test_what_a_masked_array_hides_is_missing() -> None:
    masked = np.ma.masked_array(np.array([1.0, 2.0], np.float32), [True, False])
    kind, values = read(features.from_columns({"x": masked}))["x"]
    assert kind == "floats"
    assert math.isnan(values[0])
    assert values[1] == 2.0


def test_a_feature_that_all_rows_miss_is_left_to_the_models_default() -> None:
    assert read(features.from_rows([{"cut": None, "carat": 0.3}])) == {"carat": ("floats", [pytest.approx(0.3)])}
    assert features.from_columns({"cut": [None, None]}) == []


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"x": [1, "a"]}, TypeError, "feature 'x': value 0 has 1 where others have text"),
        ({"x": ["a", math.nan]}, TypeError, "feature 'x': value 1 has nan where others have text"),
        ({"x": ["a", None]}, ValueError, "feature 'x': value 1 has none; text cannot be missing in some rows only"),
        ({"x": [1, [2]]}, TypeError, "feature 'x': value 1 has a list; expected numbers, text or bools"),
        ({"x": [Decimal(1)]}, TypeError, "feature 'x': value 0 has a Decimal"),
        ({"x": [b"a"]}, TypeError, "feature 'x': value 0 has a bytes"),
        ({"x": b"a"}, TypeError, "feature 'x': value 0 has a bytes"),
        ({"x": [1e39]}, ValueError, "feature 'x': value 0 has 1e+39, which is too large for a 32-bit float"),
        ({"x": [math.nan, -1e39]}, ValueError, "feature 'x': value 1 has -1e+39"),
        ({"x": [3.4028235677973366e38]}, ValueError, "which is too large"),
        ({"x": np.array([1], "datetime64[ns]")}, TypeError, "feature 'x': value 0 has a datetime; expected numbers"),
        ({"x": [np.timedelta64(1, "ns")]}, TypeError, "feature 'x': value 0 has a timedelta64"),
        ({"x": ["a", pd.NA]}, ValueError, "feature 'x': value 1 has none"),
        (
            {"x": [pd.NaT]},
            TypeError,
            "feature 'x': value 0 has a NaTType; expected numbers, text or bools (models take no",
        ),
        ({"x": [1j]}, TypeError, "feature 'x': value 0 has a complex"),
        ({"x": np.zeros((2, 2))}, TypeError, "feature 'x': value 0 has a list"),
        ({"x": np.array(["2026-11-05"], "datetime64[D]")}, TypeError, "feature 'x': value 0 has a date"),
        ({"x": {1: 2}}, TypeError, "feature 'x': found a dict; expected a list, an array or one value"),
        ({"x": {1, 2}}, TypeError, "feature 'x': found a set"),
        ({"x": [2**63]}, ValueError, "feature 'x': Value out of range: 9223372036854775808"),
        ({"x": [0.5, 10**400]}, ValueError, "feature 'x': int too large"),
        ({"x": [16777217, 2.0]}, ValueError, "feature 'x': value 0 has 16777217, and other rows a fraction or nothing"),
        ({"x": [None, -123456789]}, ValueError, "feature 'x': value 1 has -123456789"),
        ({"x": pd.array([123456789, pd.NA], "Int64")}, ValueError, "feature 'x': value 0 has 123456789"),
        ({"x": ["\ud800"]}, ValueError, "feature 'x': 'utf-8' codec"),
        ({3: [1]}, TypeError, "feature names are text; found 3"),
        ({"x": [1, 2], "y": [1, 2, 3]}, ValueError, "feature 'y' has 3 values where 'x' has 2"),
        ({"x": [1, 2], "y": []}, ValueError, "feature 'y' has 0 values where 'x' has 2"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(columns: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        features.from_columns(columns)


def test_whole_numbers_that_a_float_has_may_stand_beside_missing_ones() -> None:
    (column,) = features.from_columns({"x": [2**24, None, 2**40, -3]})
    assert [value for value in column.floats.values if value == value] == [2**24, 2**40, -3]


def test_columns_have_a_value_a_row_or_one_for_all() -> None:
    assert read(features.from_columns({"x": [1, 2], "y": 3}, rows=2))["y"] == ("integers", [3])
    with pytest.raises(ValueError, match="feature 'x' has 2 values where the ids has 3"):
        features.from_columns({"x": [1, 2]}, rows=3)


def test_an_error_in_a_row_names_the_row() -> None:
    with pytest.raises(ValueError, match="feature 'brand': candidate 2 has none"):
        features.from_rows([{"brand": "a"}, {}], lambda row: f"candidate {row + 1}")


@given(
    st.integers(0, 8).flatmap(
        lambda rows: st.dictionaries(
            texts,
            st.one_of(
                st.lists(one, min_size=rows, max_size=rows) for one in (floats32, integers64, texts, st.booleans())
            ),
        )
    )
)
def test_rows_and_columns_say_the_same(columns: dict[str, list[Any]]) -> None:
    """Whichever way round the same table is given, the same messages go out, with every value in its place."""
    count = max(map(len, columns.values()), default=0)
    rows = [{name: values[row] for name, values in columns.items()} for row in range(count)]
    sent = read(features.from_rows(rows))
    if rows:
        assert sent == read(features.from_columns(columns))
        assert {name: values for name, (_, values) in sent.items()} == columns
    else:
        assert sent == {}


@given(st.lists(st.lists(floats32, min_size=3, max_size=3), min_size=2, max_size=5))
def test_a_matrix_says_what_its_columns_say(rows: list[list[float]]) -> None:
    table = np.array(rows, np.float32)
    columns = {
        "a": of_rows(rows, 0),
        "b": list(range(len(rows))),
        "c": of_rows(rows, 1),
        "d": 0.5,
        "e": of_rows(rows, 2),
    }
    packed = features.pack(features.from_columns(columns), len(rows))
    assert [column.name for column in packed.columns] == ["b", "d"]
    assert packed.matrix == v1.FeatureMatrix(names=["a", "c", "e"], values=table.ravel())
    for matrix in (table, table.astype(np.float64), rows, np.asfortranarray(table)):
        alone = features.pack(features.from_columns({("a", "c", "e"): matrix}), len(rows))
        assert (alone.columns, alone.matrix) == ([], packed.matrix)


def of_rows(rows: list[list[float]], place: int) -> list[float]:
    return [row[place] for row in rows]


@pytest.mark.parametrize(
    "columns", [{"a": [0.5]}, {"a": [0.5, 1.5]}, {"a": [0.5, 1.5], "b": 0.5}, {"a": [1], "b": [2]}]
)
def test_what_is_no_matrix_travels_as_columns(columns: dict[str, Any]) -> None:
    given = features.from_columns(columns)
    assert features.pack(given, 2) == (given, None)


def test_a_matrix_has_a_column_for_each_name() -> None:
    with pytest.raises(ValueError, match="has 2 columns; expected 3"):
        features.from_columns({("a", "b", "c"): np.zeros((4, 2), np.float32)})
    with pytest.raises(ValueError, match="'a' stands twice"):
        features.from_columns({"a": [1.0, 2.0], ("a", "b"): np.zeros((2, 2), np.float32)})
