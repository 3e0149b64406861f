"""What a model takes decides what a text means, and what a name may have been meant for."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import typer

import turnout
from turnout_server.cli.exits import CommandError
from turnout_server.cli.known_inputs import KnownInputs

KNOWN = KnownInputs.of(
    turnout.Version(
        version=1,
        task="tensors",
        state="AVAILABLE",
        inputs=(
            turnout.Tensor("age", "FP32", (-1, 1)),
            turnout.Tensor("city", "BYTES", (-1, 1), default="Rome"),
            turnout.Tensor("k", "INT64", (1,), default=10),
            turnout.Tensor("x", "FP32", (-1, 2), ("carat", "depth"), column_defaults={"depth": 61.8}),
            turnout.Tensor("box", "FP32", (-1, 4)),
            turnout.Tensor("tags", "BYTES", (-1, -1)),
            turnout.Tensor("corner", "FP32", (2,)),
        ),
    )
)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("age", "30", 30),
        ("age", "0.5", 0.5),
        ("age", "true", True),
        ("age", "NaN", math.nan),
        ("age", "-inf", -math.inf),
        ("age", "null", None),
        ("age", "[30, 40]", [30, 40]),
        ("age", "old", "old"),
        ("age", "30 years, 2", "30 years, 2"),
        ("age", '"30"', '"30"'),
        ("city", "Berlin", "Berlin"),
        ("city", "01234", "01234"),
        ("city", "true", "true"),
        ("city", "a, b", "a, b"),
        ("city", '"1"', "1"),
        ("city", '["a"]', '["a"]'),
        ("city", "", ""),
        ("depth", "61", 61),
    ],
)
def test_a_value_is_what_its_type_says(name: str, text: str, value: Any) -> None:
    assert KNOWN.value(name, text) == pytest.approx(value, nan_ok=True) if isinstance(value, float) else True
    if not isinstance(value, float):
        assert KNOWN.value(name, text) == value


def test_several_numbers_where_a_row_has_one_are_refused_with_the_way() -> None:
    with pytest.raises(typer.BadParameter, match=re.escape("Several rows go as age=[1,2.5], or by --data")):
        KNOWN.value("age", "1,2.5")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("box", "1,2,3,4", [[1, 2, 3, 4]]),
        ("box", "[1,2,3,4]", [[1, 2, 3, 4]]),
        ("box", "[[1,2,3,4],[5,6,7,8]]", [[1, 2, 3, 4], [5, 6, 7, 8]]),
        ("box", "", [[]]),
        ("box", "7", [[7]]),
        ("tags", "red, blue", [["red", "blue"]]),
        ("tags", "red", [["red"]]),
        ("tags", '[["red"],["blue"]]', [["red"], ["blue"]]),
        ("corner", "1,2", [1, 2]),
        ("x", "0.5,61", [[0.5, 61]]),
    ],
)
def test_an_input_with_several_values_takes_commas_and_json(name: str, text: str, value: Any) -> None:
    assert KNOWN.whole_value(name, text) == value


@pytest.mark.parametrize(("name", "text"), [("box", "[[[1]]]"), ("corner", "[[1,2]]")])
def test_an_input_of_other_axes_is_refused(name: str, text: str) -> None:
    with pytest.raises(CommandError, match=f"input '{name}' is FP32 .* found"):
        KNOWN.whole_value(name, text)


def test_cells_of_a_text_file_are_read_by_type() -> None:
    assert KNOWN.cells("age", ["30", " 0.5 ", ""], "f.csv", (2, 3, 4)) == [30, 0.5, None]
    assert KNOWN.cells("city", ["30", " a ", ""], "f.csv", (2, 3, 4)) == ["30", " a ", None]
    assert KNOWN.cells("box", ["[1,2,3,4]"], "f.csv", (2,)) == [[1, 2, 3, 4]]
    with pytest.raises(
        CommandError, match=re.escape("f.csv: row 1 (line 5): feature 'age': found 'old'; expected a number (FP32)")
    ):
        KNOWN.cells("age", ["1", "old"], "f.csv", (2, 5))
    with pytest.raises(CommandError, match=r"row 0 \(line 2\): input 'box': found '1'; expected a JSON list"):
        KNOWN.cells("box", ["1"], "f.csv", (2,))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["aeg"], "no feature named 'aeg'; did you mean 'age'? (FEATURE_UNKNOWN)"),
        (["CITY"], "no feature named 'CITY'; did you mean 'city'?"),
        (["zzz"], "no feature named 'zzz'; the model takes the features 'age', 'city', 'k', 'carat', 'depth' and "),
        (["zzz"], "and the inputs 'x', 'box', 'tags', 'corner' (FEATURE_UNKNOWN)"),
        (["age", "q1", "q2"], "no features named 'q1', 'q2'; the model takes the features 'age', "),
    ],
)
def test_unknown_names_get_suggestions(names: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=re.escape(says)):
        KNOWN.check(names)
    KNOWN.check(["age", "box"])


def test_an_input_that_is_called_features_is_not_taken_for_them() -> None:
    known = KnownInputs({}, {"features": turnout.Tensor("features", "FP32", (-1, 4))})
    with pytest.raises(CommandError, match="no feature named 'age'; the model takes the input 'features' \\("):
        known.check(["age"])


@pytest.mark.parametrize(
    ("given", "defaulted"),
    [
        ({}, {"city": "Rome", "k": 10, "depth": 61.8}),
        ({"city": "Berlin", "k": [3, 4]}, {"depth": 61.8}),
        ({"city": None, "k": [None, math.nan]}, {"city": "Rome", "k": 10, "depth": 61.8}),
        ({"x": [[1, 2]], "city": "", "k": 0}, {}),
    ],
)
def test_defaults_stand_in_for_what_is_not_given(given: dict[str, Any], defaulted: dict[str, Any]) -> None:
    assert KNOWN.defaulted(given) == defaulted


def test_what_was_defaulted_is_said_in_one_line() -> None:
    assert KNOWN.explained(KNOWN.defaulted({})) == "3 of 5 features defaulted: city 'Rome', k 10, depth 61.8"
    assert KNOWN.explained({}) == "0 of 5 features defaulted"
