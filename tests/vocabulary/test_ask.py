"""Whom a caller may ask, whichever way it came in by."""

from __future__ import annotations

from typing import Any

import pytest

from turnout_server.vocabulary.ask import NAME_LIMIT, Ask
from turnout_server.vocabulary.errors import InvalidRequestError
from turnout_server.vocabulary.units import UNIT_LIMIT


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": ""}, "name: is empty; expected a route or a model"),
        ({"name": "n" * (NAME_LIMIT + 1)}, f"name: {NAME_LIMIT + 1} characters; at most {NAME_LIMIT} are allowed"),
        ({"name": "n", "version": "v" * 300}, f"version: 300 characters; at most {NAME_LIMIT} are allowed"),
        ({"name": "n", "unit": "u" * (16 << 20)}, f"unit: {16 << 20} characters; at most {UNIT_LIMIT} are allowed"),
    ],
)
def test_what_is_out_of_bounds_cannot_be_asked(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Ask(**fields)
    assert caught.value.message == problem


def test_what_is_at_the_bounds_can() -> None:
    ask = Ask(name="n" * NAME_LIMIT, version="v" * NAME_LIMIT, unit="\N{GRINNING FACE}" * UNIT_LIMIT)
    assert len(ask.unit) == UNIT_LIMIT


def test_nobody_changes_it_afterwards() -> None:
    with pytest.raises(AttributeError):
        Ask(name="n").unit = "u" * 2000  # type: ignore[misc]
