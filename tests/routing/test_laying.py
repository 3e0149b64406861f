"""What has been decided is laid over a table, route by route, and shows."""

from __future__ import annotations

import msgspec
import pytest

from tests.routing.test_overlay import AT, BARE, ROUTE, overlay
from turnout_server.routing.changes import changes, listed
from turnout_server.routing.laying import NO_ROUTE, Rollout, lay, rollout_of
from turnout_server.routing.overlay import Overlay
from turnout_server.routing.table import RouteTable
from turnout_server.routing.view import View

OTHER = msgspec.structs.replace(BARE, salt="other")
TABLE = RouteTable({"price": ROUTE, "search": OTHER}, "abc")
LABELS = {"price": {"champion": 1}}


def test_nothing_decided_is_the_same_table() -> None:
    assert lay(TABLE, {}) == (TABLE, {})
    assert lay(TABLE, {}).table is TABLE
    assert (TABLE.plain, TABLE.revision) == (TABLE, "abc")


def test_a_laid_table_is_of_the_same_text_and_another_revision() -> None:
    laid = lay(TABLE, {"price": overlay(enrolment=0.4)}).table
    assert (laid.digest, laid.plain, laid.layers) == ("abc", TABLE, TABLE.layers)
    assert laid.revision != TABLE.revision
    assert laid.require("price").gate.share == 0.4
    assert laid.require("search").route == OTHER
    assert lay(laid.plain, {"price": overlay(enrolment=0.4)}).table.revision == laid.revision


@pytest.mark.parametrize(("decided", "begins"), [({"enrolment": 0.4}, False), ({"weights": {"canary": 40}}, True)])
def test_weights_begin_an_epoch_and_enrolment_does_not(decided: dict[str, object], begins: bool) -> None:
    before, after = View(TABLE, LABELS), View(lay(TABLE, {"price": overlay(**decided)}).table, LABELS)
    assert (before.epoch_of("price") != after.epoch_of("price")) is begins
    assert before.epoch_of("search") == after.epoch_of("search")


def test_one_that_does_not_fit_spoils_no_other() -> None:
    stale = msgspec.structs.replace(overlay(weights={"canary": 1}), on="0" * 16)
    table, left_out = lay(TABLE, {"price": overlay(enrolment=0.4), "search": stale, "gone": overlay(enrolment=1.0)})
    assert table.require("price").gate.share == 0.4
    assert left_out["gone"] == NO_ROUTE
    assert left_out["search"].startswith("since it was decided")
    assert set(table.overlays) == {"price"}


def test_an_experiment_that_another_route_has_is_brought_to_none() -> None:
    brought = msgspec.structs.replace(overlay(BARE, enrolment=0.0), route="search")
    table, left_out = lay(TABLE, {"search": brought})
    assert table is TABLE
    assert left_out == {"search": "route 'price' has an experiment 'sharper', too"}


def test_what_is_decided_shows_beside_what_the_table_says() -> None:
    paused: Overlay = overlay(enrolment=0.0, resumes_at=0.4, why="it hurts")
    table = lay(TABLE, {"price": paused}).table
    shown = Rollout(
        experiment="sharper", enrolment=0.0, table_enrolment=0.1, resumes_at=0.4, at=AT, by="ada", how="ramp",
        why="it hurts",
    )  # fmt: skip
    assert rollout_of(table, "price") == shown
    assert rollout_of(table, "search") is None
    assert rollout_of(table, "search", "broken") == Rollout(problem="broken")
    routes = {one.name: one for one in listed(table, left_out={"search": "broken"})}
    assert (routes["price"].rollout, routes["search"].rollout) == (shown, Rollout(problem="broken"))
    assert changes(listed(TABLE), listed(table)) == ["~ price: experiment sharper: enrolment 10 % -> 0 %"]
