"""A table waits for the versions that it sends requests to, and for no others."""

from __future__ import annotations

import pytest

from tests.gateway.world import table
from turnout_server.gateway.obstacles import Obstacles, obstacles
from turnout_server.routing.laying import lay
from turnout_server.routing.overlay import Overlay, Step, footing
from turnout_server.routing.table import EMPTY, RouteTable
from turnout_server.routing.text import parse
from turnout_server.serving.state import State, VersionStatus
from turnout_server.vocabulary.versions import VersionKey

LOADING = "$.routes.price.targets[1]: price version 2 is LOADING"
FAILED = "$.routes.price.targets[1]: price version 2 is FAILED: it is broken"


def status_of(state: State, detail: str = "") -> dict[VersionKey, VersionStatus]:
    """Return states in which version 1 can answer, and version 2 is in *state*."""
    one, two = VersionKey("price", 1), VersionKey("price", 2)
    return {one: VersionStatus(one, State.AVAILABLE, ""), two: VersionStatus(two, state, detail)}


def found(one: RouteTable, state: State, detail: str = "", served: RouteTable = EMPTY) -> Obstacles:
    return obstacles(one, served, {}, status_of(state, detail).get, ())


@pytest.mark.parametrize(
    ("state", "detail", "expected"),
    [
        (State.AVAILABLE, "", Obstacles()),
        (State.LOADING, "", Obstacles(LOADING)),
        (State.FAILED, "it is broken", Obstacles("", FAILED)),
    ],
)
def test_it_waits_for_what_loads_and_not_for_what_has_failed(state: State, detail: str, expected: Obstacles) -> None:
    assert found(parse(table("a price 1 1", "b price 2 1")), state, detail) == expected


def test_nobody_waits_for_a_model_that_is_not_to_be_served_or_that_nobody_asked_for() -> None:
    one = parse(table("a price 1 1", "b price 2 1"))
    assert obstacles(one, EMPTY, {}, status_of(State.UNLOADING).get, {"price"}).problem.endswith("is UNLOADING")
    assert obstacles(one, EMPTY, {}, lambda key: None, ()).waiting.endswith("price version 1 is STORED")


@pytest.mark.parametrize(
    ("more", "waits"),
    [
        ("", False),
        ("    fallback: b\n", True),
        ("    overrides: [{when: {unit: [vip]}, target: b}]\n", True),
        ("    experiment: {name: x, control: b, enrolment: 0.5}\n", True),
        ("    experiment: {name: x, control: a, enrolment: 0.5}\n", False),
    ],
)
def test_a_target_without_weight_counts_where_requests_may_come_to_it(more: str, waits: bool) -> None:
    one = parse(table("a price 1 1", "b price 2 0", more=more))
    assert bool(found(one, State.LOADING).waiting) is waits


@pytest.mark.parametrize(("weight", "expected"), [(1, Obstacles()), (0, Obstacles(LOADING))])
def test_a_decision_waits_for_no_version_that_has_had_requests_all_along(weight: int, expected: Obstacles) -> None:
    served = parse(table("a price 1 1", f"b price 2 {weight}"))
    on = footing(served.require("price").route, weights=True)
    step = Step(at="2026-11-29T12:00:00Z", weights={"b": 2.0})
    laid = lay(served, {"price": Overlay(format=1, route="price", on=on, step=step)}).table
    assert found(laid, State.LOADING, served=served) == expected


def test_a_pause_waits_for_a_control_that_has_had_no_requests() -> None:
    """Else all units would be sent to a version that cannot answer."""
    served = parse(table("a price 1 1", "b price 2 0"))
    on = footing(served.require("price").route, weights=False)
    step = Step(at="2026-11-29T12:00:00Z", enrolment=0.0, resumes_at=1.0)
    one = Overlay(format=1, route="price", on=on, experiment="x", control="b", step=step)
    assert found(lay(served, {"price": one}).table, State.LOADING, served=served) == Obstacles(LOADING)
