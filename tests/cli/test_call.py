"""What `turnout call` makes of its options; calls are in `tests/e2e/test_command_line.py`."""

from __future__ import annotations

import pytest
import typer

import turnout
from tests.cli.test_known_inputs import KNOWN
from turnout_server.cli import call
from turnout_server.cli.data_file import Table
from turnout_server.cli.exits import CommandError


def test_a_candidate_is_an_id_and_its_features() -> None:
    found = call._candidates(["a:age=3.5,city=1", "b:", "c"])
    assert found == {"a": {"age": "3.5", "city": "1"}, "b": {}, "c": {}}
    assert call._candidates(None) is None
    part = call._parts({"candidates": found}, {}, KNOWN)
    assert part == {"candidates": {"a": {"age": 3.5, "city": "1"}, "b": {}, "c": {}}}
    for wrong, problem in ((["a:x=1", "a:x=2"], "stands twice"), ([":x=1"], "has no id")):
        with pytest.raises(typer.BadParameter, match=problem):
            call._candidates(wrong)


def test_ids_may_stand_together_or_apart() -> None:
    assert call._ids(None) is None
    assert call._ids(["1, 2", "3", ""]) == ["1", "2", "3"]


def test_metadata_is_text_that_headers_can_hold() -> None:
    assert call._metadata(["X-QA=on"]) == {"x-qa": "on"}
    for wrong in ("x y=1", "x-bin=1", "x=é"):
        with pytest.raises(typer.BadParameter, match="--metadata"):
            call._metadata([wrong])


def test_columns_that_are_not_the_models_are_left_out() -> None:
    table = Table({"age": ["1"], "target": ["0"], "row": ["7"]}, is_text=True)
    assert call._without(table, ["target, row"]) == Table({"age": ["1"]}, is_text=True)
    assert call._without({"age": 1}, []) == {"age": 1}
    with pytest.raises(typer.BadParameter, match="there is no column 'goal'; there are age, target, row"):
        call._without(table, ["goal"])
    with pytest.raises(typer.BadParameter, match="the file has no columns"):
        call._without({"age": 1}, ["age"])


def test_an_unknown_feature_gets_a_suggestion_where_there_is_one() -> None:
    def refused(name: str) -> turnout.InvalidRequestError:
        details = {"feature": name}
        return turnout.InvalidRequestError("no such feature", code="I", reason="FEATURE_UNKNOWN", details=details)

    with (
        pytest.raises(CommandError, match=r"no such feature; did you mean 'age'\? \(FEATURE_UNKNOWN, I\)"),
        call._suggesting(KNOWN),
    ):
        raise refused("agee")
    with pytest.raises(turnout.InvalidRequestError), call._suggesting(KNOWN):
        raise refused("zzz")
