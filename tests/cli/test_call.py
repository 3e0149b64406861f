"""What `turnout call` makes of its options; calls are in `tests/e2e/test_command_line.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from turnout_server.cli import call
from turnout_server.cli.exits import CommandError


def test_a_candidate_is_an_id_and_its_features() -> None:
    assert call._candidates(None) is None
    assert call._candidates(["a:price=3.5,brand=x", "b:", "c"]) == {"a": {"price": 3.5, "brand": "x"}, "b": {}, "c": {}}
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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1]", "expected a JSON object"),
        ("{", "not JSON"),
        ("!!bool x", "not JSON"),
        ('{"nope": 1}', "unknown key 'nope'"),
    ],
)
def test_data_that_is_no_request_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "data.json"
    file.write_text(text)
    with pytest.raises(CommandError, match=problem):
        call._read_data(file)


def test_data_may_be_left_out() -> None:
    nothing: dict[str, Any] = {}
    assert call._read_data(None) == nothing
