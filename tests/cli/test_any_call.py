"""Files and options become one request by the model's signature, and outputs a table."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import typer

import turnout
from tests.cli.test_known_inputs import KNOWN
from turnout_server.cli import any_call
from turnout_server.cli.any_call import Request
from turnout_server.cli.data_file import Table, Whole
from turnout_server.cli.exits import CommandError

SERVED = turnout.Served("", "", "m", 1, "NAMED")


@pytest.mark.parametrize(
    ("contents", "pairs", "request_"),
    [
        ({}, {"age": "30", "box": "1,2,3,4"}, Request({"age": 30}, {"box": [[1, 2, 3, 4]]})),
        ({"age": [1, 2], "box": [[1], [2]]}, {}, Request({"age": [1, 2]}, {"box": [[1], [2]]})),
        ({"box": [1, 2, 3, 4]}, {}, Request({}, {"box": [[1, 2, 3, 4]]})),
        ({"age": 1, "city": "Rome"}, {"age": "2"}, Request({"age": 2, "city": "Rome"}, {})),
        ({"rows": [{"age": 1}, {"city": "Rome"}]}, {}, Request({"age": [1, None], "city": [None, "Rome"]}, {})),
        ({"features": {"age": 1}}, {}, Request({"age": 1}, {})),
        (Table({"age": ["1", ""], "city": ["2", "3"]}, True), {}, Request({"age": [1, None], "city": ["2", "3"]}, {})),
        (Table({"age": [1], "box": [[1, 2, 3, 4]]}), {}, Request({"age": [1]}, {"box": [[1, 2, 3, 4]]})),
        (Whole({}, ("y",)), {"k": "3"}, Request({"k": 3}, {}, ("y",))),
    ],
)
def test_options_win_over_a_file(contents: Any, pairs: dict[str, str], request_: Request) -> None:
    assert any_call.request(KNOWN, contents, pairs, "f") == request_


def test_arrays_are_features_or_whole_inputs_by_the_signature() -> None:
    arrays = {"age": np.array([1, 2]), "corner": np.zeros(2), "box": np.zeros((2, 4)), "k": np.zeros((1, 1))}
    found = any_call.request(KNOWN, Whole(arrays), {}, "f")
    assert (list(found.features), list(found.whole)) == (["age"], ["corner", "box", "k"])
    assert list(found.given) == ["age", "corner", "box", "k"]


@pytest.mark.parametrize(
    ("contents", "pairs", "says"),
    [
        ({"aeg": 1}, {}, "no feature named 'aeg'; did you mean 'age'?"),
        ({}, {"aeg": "1"}, "no feature named 'aeg'; did you mean 'age'?"),
        (Table({"age": [1], "target": [0]}), {}, "--drop leaves a column out"),
        (Table({"age": ["x"]}, True, (2,)), {}, "f: row 0 (line 2): feature 'age': found 'x'"),
        (Whole({"": np.zeros(3)}), {}, "an NPZ file has an array for each"),
        (Whole({"nope": np.zeros(3)}), {}, "no feature named 'nope'"),
        ({"rows": [3]}, {}, "rows: expected a list of objects"),
    ],
)
def test_what_the_model_does_not_take_is_refused(contents: Any, pairs: dict[str, str], says: str) -> None:
    with pytest.raises(CommandError, match=re.escape(says)):
        any_call.request(KNOWN, contents, pairs, "f")


def shown(capsys: pytest.CaptureFixture[str], **outputs: Any) -> list[list[str]]:
    any_call.show(turnout.Inference(outputs, SERVED))
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_outputs_with_a_row_each_are_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(
        capsys, score=np.array([0.5, 2]), label=np.array(["a", "b"], object), p=np.array([[1, 2], [3, 4]])
    ) == [
        ["ROW", "SCORE", "LABEL", "P_0", "P_1"],
        ["0", "0.5", "a", "1", "2"],
        ["1", "2", "b", "3", "4"],
    ]
    assert shown(capsys, score=np.array([[0.5]])) == [["SCORE"], ["0.5"]]


def test_long_rows_are_shown_by_their_first_values(capsys: pytest.CaptureFixture[str]) -> None:
    (_, cells) = shown(capsys, embedding=np.arange(20).reshape(1, 20))
    assert " ".join(cells) == "[0, 1, 2, ... 17 more]"
    assert shown(capsys, boxes=np.zeros((1, 2, 2)))[1] == ["[[0,", "0],", "[0,", "0]]"]


def test_outputs_that_are_no_table_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, a=np.zeros(2), b=np.zeros(3), c=np.float32(1.5), d=np.zeros((0, 2))) == [
        ["a:", "[0,", "0]"],
        ["b:", "[0,", "0,", "0]"],
        ["c:", "1.5"],
        ["d:", "[]"],
    ]


def test_a_narrow_terminal_gets_all_of_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    lines = shown(capsys, **{f"a_long_output_{number}": np.array([number]) for number in range(4)})
    assert [word for line in lines for word in line] == [
        word for number in range(4) for word in (f"a_long_output_{number}", str(number))
    ]


def test_outputs_wanted() -> None:
    assert any_call.outputs_of(None, ()) is None
    assert any_call.outputs_of(None, ("a",)) == ["a"]
    assert any_call.outputs_of(["b, c", "d"], ("a",)) == ["b", "c", "d"]
    with pytest.raises(typer.BadParameter, match="empty name"):
        any_call.outputs_of(["a,,b"], ())
    assert any_call.document(turnout.Inference({"y": np.array([1])}, SERVED)) == {"outputs": {"y": [1]}}
