"""Routes and assignments that come back, as values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import turnout

SPLIT = turnout.Served("ranking", "control", "basket", 3, "SPLIT")


def test_the_route_table_is_joined_from_its_pages(client: Any) -> None:
    """Its digest is the first page's: a table that changed meanwhile must not pass for the one that was read."""
    table = client.routes()
    assert [route.name for route in table] == ["price", "ranking"]
    assert (table.digest, table.problem, len(table)) == ("d1", "$.routes: no", 2)


def test_a_route_tells_all_that_is_known(client: Any) -> None:
    assert client.route("price") == turnout.Route(
        name="price",
        task="price",
        salt="salt",
        targets=(
            turnout.Target("control", "diamonds", "champion", 90.0, 3),
            turnout.Target("canary", "diamonds", "challenger", 10.0, None),
        ),
        overrides=(turnout.Override("canary", {"x-qa": "on"}, ("u1",)),),
        mirrors=(turnout.Mirror("diamonds", "7", 0.05),),
        fallback="control",
        experiment=turnout.Experiment(
            "canary-2026", "control", turnout.Layer("checkout", "checkout-2026", 0.05), ((0, 300), (400, 401)), 0.25
        ),
        rollout=turnout.Rollout(
            "canary-2026", 0.25, 0.1, None, {}, datetime(2026, 11, 29, 12, tzinfo=UTC), "ada",
            "turnout experiment ramp", "it goes well",
        ),
    )  # fmt: skip
    assert client.route("ranking").experiment is None
    assert client.route("ranking").rollout is None


def test_an_assignment_says_whether_an_override_made_it(client: Any) -> None:
    assert client.assign("ranking", "u") == turnout.Assignment(SPLIT, None, None, {"control": 0.5})
    overridden = client.assign("ranking", "u", headers={"x-qa": "on"})
    assert (overridden.served.reason, overridden.override) == ("OVERRIDE", 0)


def test_an_assignment_tells_the_draws_of_the_routes_experiment(client: Any) -> None:
    assert client.assign("price", "u").draws == turnout.Draws(0.25, 0, 0.5)
    assert client.assign("alone", "u").draws == turnout.Draws(None, None, 0.5), "a layer that is not there is no 0"
