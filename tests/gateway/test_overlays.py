"""A rollout that is broken is refused alone, and what was in force before it stays."""

from __future__ import annotations

import msgspec
import pytest

from tests.routing.test_laying import TABLE
from tests.routing.test_overlay import ROUTE, overlay
from turnout_server.gateway.overlays import Overlays
from turnout_server.routing.overlay import encode
from turnout_server.routing.route import Experiment
from turnout_server.routing.table import RouteTable
from turnout_server.store.rollouts import Stored

GOOD = Stored(encode(overlay(enrolment=0.4)))
BETTER = Stored(encode(overlay(enrolment=0.5)))
BROKEN = Stored(b"{")
UNREAD = Stored(b"", "cannot read rollouts/price.json: the disk does not answer")


def enrolment(overlays: Overlays, stored: Stored | None) -> float:
    (laid,) = overlays.lay([TABLE], {} if stored is None else {"price": stored})
    gate = laid.table.require("price").gate
    assert gate is not None
    return gate.share


def test_what_has_not_changed_is_the_same_table() -> None:
    overlays = Overlays()
    first, second = (overlays.lay([TABLE], {"price": GOOD})[0].table for _ in range(2))
    assert first is second
    assert overlays.lay([TABLE], {"price": BETTER})[0].table is not first
    assert overlays.lay([TABLE], {})[0].table is TABLE


def test_a_broken_one_leaves_the_one_before_it_and_says_why() -> None:
    overlays = Overlays()
    assert enrolment(overlays, GOOD) == 0.4
    for wrong, told in ((BROKEN, "rollouts/price.json: not JSON"), (UNREAD, "the disk does not answer")):
        assert enrolment(overlays, wrong) == 0.4
        assert told in overlays.lay([TABLE], {"price": wrong})[0].left_out["price"]
    assert enrolment(overlays, BETTER) == 0.5
    assert overlays.lay([TABLE], {"price": BETTER})[0].left_out == {}


def test_at_the_start_a_broken_one_leaves_the_table_as_it_is_written() -> None:
    overlays = Overlays()
    assert overlays.lay([TABLE], {"price": BROKEN, "search": BROKEN})[0].table is TABLE
    assert enrolment(overlays, GOOD) == 0.4


def test_one_that_is_gone_is_in_force_no_longer_broken_or_not() -> None:
    overlays = Overlays()
    enrolment(overlays, GOOD)
    enrolment(overlays, BROKEN)
    (laid,) = overlays.lay([TABLE], {})
    assert (laid.table, laid.left_out) == (TABLE, {})


def test_where_nobody_can_say_what_there_is_all_stays() -> None:
    overlays = Overlays()
    enrolment(overlays, GOOD)
    (laid,) = overlays.lay([TABLE], None)
    assert laid.table.require("price").gate.share == 0.4
    assert "cannot be listed" in laid.left_out["price"]


def test_at_the_start_that_nobody_can_say_what_there_is_shows_for_every_route_until_somebody_can() -> None:
    overlays = Overlays()
    (laid,) = overlays.lay([TABLE], None)
    assert laid.table is TABLE
    assert set(laid.left_out) == {compiled.name for compiled in TABLE}
    assert "whether anything was decided about this route is not known" in laid.left_out["price"]
    assert overlays.lay([TABLE], {})[0].left_out == {}
    assert overlays.lay([TABLE], None)[0].left_out == {}, "it is known that there was nothing"


@pytest.mark.parametrize(
    ("decided", "serving"), [({"enrolment": 0.0, "resumes_at": 0.4}, 0.0), ({"enrolment": 0.4}, 0.1)]
)
def test_a_pause_is_in_force_with_the_table_that_serves_though_it_was_decided_on_a_newer_one(
    decided: dict[str, float], serving: float
) -> None:
    """All else that was decided on the newer table waits with it."""
    newer = msgspec.structs.replace(ROUTE, experiment=Experiment("sharper", "control", enrolment=0.3))
    stored = {"price": Stored(encode(overlay(newer, **decided)))}
    overlays = Overlays()
    waiting = RouteTable({"price": newer}, "newer")
    for _ in range(2):
        first, served = overlays.lay([waiting, TABLE], stored)
        assert first.table.require("price").gate.share == decided["enrolment"]
        assert served.table.require("price").gate.share == serving
    assert overlays.lay([waiting, TABLE], stored)[1].table is served.table
    assert overlays.lay([TABLE], stored)[0].table is TABLE, "once it is the newest, who wrote it is right"
