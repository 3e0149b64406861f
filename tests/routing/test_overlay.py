"""An overlay is read strictly, and holds for what it was decided on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.routing.overlay import (
    MOST_BYTES,
    MOST_EARLIER,
    Overlay,
    Step,
    cut,
    encode,
    footing,
    overlaid,
    parse,
    revision_of,
    why_not,
)
from turnout_server.routing.route import Experiment, Route, Target
from turnout_server.routing.split import pick
from turnout_server.routing.table import RouteTable
from turnout_server.vocabulary.errors import InvalidRouteTableError

TARGETS = (Target("control", "price", "champion", 80), Target("canary", "price", 2, 20), Target("off", "price", 1, 0))
ROUTE = Route(salt="s", targets=TARGETS, experiment=Experiment("sharper", "control", enrolment=0.1))
BARE = msgspec.structs.replace(ROUTE, experiment=None)
AT = "2026-11-29T12:00:00.000000Z"
UNITS = [f"unit-{number}" for number in range(500)]


def step(**fields: Any) -> Step:
    return Step(**{"at": AT, "by": "ada", "how": "ramp"} | fields)


def overlay(route: Route = ROUTE, experiment: str | None = "sharper", **fields: Any) -> Overlay:
    one = step(**fields)
    on = footing(route, weights=bool(one.weights))
    return Overlay(format=1, route="price", on=on, experiment=experiment, control="control", step=one)


def places(route: Route) -> dict[str, tuple[str, str]]:
    compiled = RouteTable({"price": route}).require("price")
    return {unit: (found.target.name, found.reason.value) for unit in UNITS for found in [compiled.place(unit)]}


shares = st.floats(0, 1)


@given(shares, shares)
def test_enrolment_that_grows_only_lets_units_in(one: float, other: float) -> None:
    """Whoever took part stays in the arm that it was in; the others get in, or go on getting the control."""
    lower, higher = sorted((one, other))
    before, after = (places(overlaid(ROUTE, overlay(enrolment=share))) for share in (lower, higher))
    for unit, (target, reason) in before.items():
        if reason == "SPLIT":
            assert after[unit] == (target, reason)
        else:
            assert after[unit] in {("control", "UNENROLLED"), (pick(ROUTE, unit).name, "SPLIT")}


@given(st.floats(0.001, 1))
def test_while_it_is_paused_nobody_takes_part_and_afterwards_all_are_where_they_were(share: float) -> None:
    paused = overlaid(ROUTE, overlay(enrolment=0.0, resumes_at=share))
    assert set(places(paused).values()) == {("control", "UNENROLLED")}
    assert places(overlaid(ROUTE, overlay(enrolment=share))) == places(
        msgspec.structs.replace(ROUTE, experiment=Experiment("sharper", "control", enrolment=share))
    )


def test_a_route_without_an_experiment_is_paused_by_bringing_it() -> None:
    paused = overlaid(BARE, overlay(BARE, enrolment=0.0, resumes_at=1.0))
    assert paused.experiment == Experiment("sharper", "control", enrolment=0.0)
    assert overlaid(BARE, overlay(BARE, enrolment=1.0)) == BARE, "all units take part, as without any overlay"


def test_weights_are_replaced_and_those_that_are_not_named_stay() -> None:
    laid = overlaid(ROUTE, overlay(weights={"canary": 40}))
    assert {target.name: target.weight for target in laid.targets} == {"control": 80, "canary": 40, "off": 0}
    assert laid.experiment == ROUTE.experiment


def test_what_is_written_is_read_again() -> None:
    first = overlay(enrolment=0.2, why="it goes well")
    second = first.then(step(enrolment=0.0, resumes_at=0.2), first.on)
    assert parse(encode(second), "price") == second
    assert [one.enrolment for one in second.steps] == [0.2, 0.0]
    assert (first.is_paused, second.is_paused) == (False, True)


def test_the_oldest_steps_go_where_there_are_too_many() -> None:
    one = overlay(enrolment=0.0)
    for number in range(1, MOST_EARLIER + 3):
        one = one.then(step(enrolment=number / 2000), one.on)
    assert len(one.earlier) == MOST_EARLIER
    assert one.earlier[0].enrolment == 2 / 2000
    assert parse(encode(one), "price") == one


def test_what_was_decided_often_and_at_length_is_not_larger_than_may_be_read() -> None:
    """A pause must not be refused by gateways for what was said before it."""
    said = step(enrolment=0.2, why="\N{SNOWMAN}" * 300, by="\N{SNOWMAN}" * 300)
    full = msgspec.structs.replace(overlay(enrolment=0.2), earlier=(said,) * MOST_EARLIER)
    assert len(encode(full)) > MOST_BYTES
    paused = full.then(step(enrolment=0.0, resumes_at=0.2), full.on)
    assert parse(encode(paused), "price") == paused
    assert (paused.step.resumes_at, paused.earlier[-1]) == (0.2, full.step)
    assert len(paused.earlier) > MOST_EARLIER // 4


Change = Callable[[Route], Route]


def placed(**fields: Any) -> Change:
    return lambda route: msgspec.structs.replace(route, experiment=msgspec.structs.replace(route.experiment, **fields))


def weighing(canary: float) -> Change:
    targets = (TARGETS[0], msgspec.structs.replace(TARGETS[1], weight=canary), TARGETS[2])
    return lambda route: msgspec.structs.replace(route, targets=targets)


@pytest.mark.parametrize(
    ("decided", "changed", "told"),
    [
        ({"enrolment": 0.2}, placed(enrolment=0.15), "was changed in the route table"),
        ({"enrolment": 0.2}, placed(control="canary"), "was changed in the route table"),
        ({"enrolment": 0.2}, placed(name="other"), "it is of the experiment 'sharper', and the route's is 'other'"),
        ({"enrolment": 0.2}, lambda route: BARE, "was changed in the route table"),
        ({"weights": {"canary": 40}}, weighing(30), "experiment or its weights was changed"),
        (
            {"weights": {"canary": 40, "gone": 1}},
            weighing(20),
            "it names a target 'gone'; the route has",
        ),
        ({"weights": {"control": 0, "canary": 0}}, weighing(20), "every weight would be 0"),
        ({"enrolment": 0.2}, weighing(30), ""),
        ({"enrolment": 0.2}, lambda route: msgspec.structs.replace(route, salt="other"), ""),
        ({"enrolment": 0.2}, placed(layer="checkout"), ""),
    ],
)
def test_what_a_person_changes_since_counts_where_the_overlay_would_hide_it(
    decided: dict[str, Any], changed: Change, told: str
) -> None:
    found = why_not(changed(ROUTE), overlay(**decided))
    assert told in found
    assert bool(found) is bool(told)


def test_an_enrolment_of_no_experiment_is_of_no_use() -> None:
    assert "of which experiment" in why_not(BARE, overlay(BARE, experiment=None, enrolment=0.5))


def document(**fields: Any) -> dict[str, Any]:
    return json.loads(encode(overlay(enrolment=0.2))) | fields


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "rollouts/price.json: not JSON"),
        (b"\xff\xfe", "rollouts/price.json: not JSON"),
        (b"[]", "rollouts/price.json: $: Expected `object`, got `array`"),
        (b" " * (MOST_BYTES + 1), f"found {MOST_BYTES + 1} bytes; at most {MOST_BYTES} are allowed"),
        (document(format=2), "$.format: found 2; this release reads 1"),
        (document(format="1"), "$.format: Expected `int`, got `str`; found '1'"),
        (document(route="other"), "$.route: found 'other'; the file is named for 'price'"),
        (document(on="x"), "$.on: "),
        (document(labels={"price": {"champion": 3}}), "contains unknown field `labels`"),
        (document(step={"at": AT, "enrolment": 1.5}), "$.step.enrolment: Expected `float` <= 1.0; found 1.5"),
        (document(step={"at": AT, "enrolment": -1}), "$.step.enrolment: Expected `float` >= 0.0; found -1"),
        (document(step={"at": "yesterday", "enrolment": 1}), "$.step.at: "),
        (document(step={"at": AT}), "$.step: says nothing; expected an enrolment or weights"),
        (
            document(step={"at": AT, "enrolment": 0.5, "resumes_at": 0.5}),
            "$.step.enrolment: found 0.5; one that is paused",
        ),
        (document(step={"at": AT, "weights": {"canary": -1}}), "$.step.weights.canary: found -1.0; expected a number"),
        (document(step={"at": AT, "weights": {"No Name": 1}}), "$.step.weights: "),
        (document(step={"at": AT, "enrolment": 1, "why": "x" * 301}), "$.step.why: "),
        (document(earlier=[{"at": AT}]), "$.earlier[0]: says nothing"),
        (document(earlier=[{"at": AT, "enrolment": 0.1}] * 1001), "$.earlier: Expected `array` of length <= 1000"),
    ],
)
def test_one_that_is_wrong_is_refused_with_its_place(content: bytes | dict[str, Any], told: str) -> None:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(InvalidRouteTableError) as refused:
        parse(raw, "price")
    assert told in refused.value.message
    assert "rollouts/price.json" in refused.value.message


@given(st.binary(max_size=60))
def test_whatever_is_there_is_read_or_refused(content: bytes) -> None:
    with pytest.raises(InvalidRouteTableError):
        parse(content, "price")


def test_a_text_is_one_line_that_fits() -> None:
    assert cut("a\nb\x1b[31m\ud800" + "x" * 500) == "a b [31m " + "x" * 291


def test_a_revision_tells_what_was_laid_over_a_text() -> None:
    one, other = overlay(enrolment=0.2), overlay(enrolment=0.3)
    assert revision_of("abc", {}) == "abc"
    assert len({"abc", *(revision_of("abc", {"price": each}) for each in (one, other))}) == 3
    assert revision_of("abc", {"price": one}) == revision_of("abc", {"price": overlay(enrolment=0.2)})
