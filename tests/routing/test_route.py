"""What types cannot say of a route."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from turnout_server.routing.route import Route, When, check_route
from turnout_server.vocabulary.errors import InvalidRouteTableError

ARM = {"name": "a", "model": "m", "version": 1, "weight": 1}


def route(**fields: Any) -> Route:
    return msgspec.convert({"task": "price", "salt": "s", "targets": [ARM]} | fields, Route)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"task": "nope"}, "$.r.task"),
        ({"targets": [ARM, ARM]}, "$.r.targets[1].name"),
        ({"targets": [ARM | {"weight": 0}]}, "$.r.targets"),
        ({"overrides": [{"when": {"unit": ["u"]}, "target": "b"}]}, "$.r.overrides[0].target"),
        ({"overrides": [{"when": {}, "target": "a"}]}, "$.r.overrides[0].when"),
        ({"fallback": "b"}, "$.r.fallback"),
    ],
)
def test_what_is_wrong_has_its_place(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRouteTableError) as caught:
        check_route(route(**fields), "$.r")
    assert str(caught.value).startswith(f"{place}:")


def test_a_sound_route_passes() -> None:
    check_route(route(fallback="a", overrides=[{"when": {"unit": ["u"]}, "target": "a"}]), "$.r")


@pytest.mark.parametrize(
    ("when", "unit", "headers", "matches"),
    [
        (When(unit=("u",)), "u", {}, True),
        (When(unit=("u",)), "v", {}, False),
        (When(header={"x": "1"}), "v", {"x": "1", "y": "2"}, True),
        (When(header={"x": "1"}), "v", {"x": "2"}, False),
        (When(header={"x": "1"}, unit=("u",)), "u", {}, False),
        (When(header={"x": "1"}, unit=("u",)), "u", {"x": "1"}, True),
    ],
)
def test_an_override_is_for_those_that_meet_all_it_states(
    when: When, unit: str, headers: dict[str, str], matches: bool
) -> None:
    assert when.matches(unit, headers) is matches
