"""What a file and options say to a task's own service; calls are in `tests/e2e/test_command_line.py`."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer

from tests.cli.test_known_inputs import KNOWN
from turnout_server.cli import typed_call
from turnout_server.cli.data_file import Table, Whole
from turnout_server.cli.exits import CommandError

TABLE = Table({"age": [1, 2], "city": ["a", "b"]})
ROWS = [{"age": 1, "city": "a"}, {"age": 2, "city": "b"}]


@pytest.mark.parametrize(
    ("task", "contents", "request_"),
    [
        ("price", {"features": {"age": 1}}, {"features": {"age": 1}}),
        ("price", {"age": 1, "city": "a"}, {"rows": [{"age": 1, "city": "a"}]}),
        ("price", {"age": [1, 2]}, None),
        ("price", TABLE, {"rows": ROWS}),
        ("price", Table({"age": ["1", "2"], "city": ["a", "b"]}, is_text=True), {"rows": ROWS}),
        ("ranking", TABLE, {"candidates": {"0": ROWS[0], "1": ROWS[1]}}),
        ("ranking", Table({"id": [7, 8], **TABLE.columns}), {"candidates": {"7": ROWS[0], "8": ROWS[1]}}),
        ("recommendation", TABLE, None),
        ("price", Whole({}), None),
        ("ranking", {"candidates": {}, "k": 3}, {"candidates": {}, "k": 3}),
    ],
)
def test_a_file_is_a_typed_request_where_it_can_be(task: str, contents: Any, request_: Any) -> None:
    assert typed_call.fitting(task, contents, KNOWN, "f") == request_


def test_a_file_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(CommandError, match=re.escape("no feature named 'prize'") + ".*--drop leaves a column out"):
        typed_call.fitting("price", Table({"prize": [1]}), KNOWN, "f")
    with pytest.raises(typer.BadParameter, match="an id stands twice"):
        typed_call.fitting("ranking", Table({"id": [7, 7], "age": [1, 2]}), KNOWN, "f")


def test_a_part_of_another_task_is_refused() -> None:
    with pytest.raises(
        typer.BadParameter, match="'shop' does price, which takes features, rows; --plain passes over that"
    ):
        typed_call.send(None, "price", "shop", {"history": []}, typed_call.Common("", None, {}))  # type: ignore[arg-type]


def test_lists_of_a_feature_are_rows() -> None:
    assert typed_call._spread({"age": 1}) == [{"age": 1}]
    assert typed_call._spread({"age": [1, 2], "city": "a"}) == [{"age": 1, "city": "a"}, {"age": 2, "city": "a"}]
    with pytest.raises(typer.BadParameter, match="age has 2, k has 1"):
        typed_call._spread({"age": [1, 2], "k": [1]})


@pytest.mark.parametrize(
    ("task", "request_", "given"),
    [
        ("price", {"features": {"age": 1}}, {"age": [1]}),
        ("price", {"rows": [{"age": 1}, {"city": "a"}]}, {"age": [1], "city": ["a"]}),
        ("ranking", {"candidates": {"a": {"age": None}}, "context": {"k": 3}}, {"age": [None], "k": [3]}),
        ("recommendation", {"history": ["1"]}, {}),
    ],
)
def test_what_a_request_says_of_each_feature(task: str, request_: dict[str, Any], given: dict[str, Any]) -> None:
    assert typed_call.given(task, request_) == given
