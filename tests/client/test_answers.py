"""What comes back, as values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import turnout
from turnout import v1

SPLIT = turnout.Served("ranking", "control", "basket", 3, "SPLIT")


def test_a_reason_of_a_newer_server_is_its_number() -> None:
    assert turnout.answers.read_served(v1.Served(reason=99)).reason == "99"  # type: ignore[arg-type]


def test_a_model_tells_all_that_is_known(client: Any) -> None:
    version = turnout.Version(
        version=3,
        task="price",
        state="AVAILABLE",
        create_time=datetime(2026, 11, 5, 12, tzinfo=UTC),
        framework="lightgbm",
        metrics={"rmse": 517.0},
        inputs=(turnout.Tensor("x", "FP32", (-1, 2), ("carat", "depth")),),
    )
    assert client.model("price") == turnout.Model("price", (version,), {"champion": 3})


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
    )


def test_an_assignment_says_whether_an_override_made_it(client: Any) -> None:
    assert client.assign("ranking", "u") == turnout.Assignment(SPLIT, None)
    overridden = client.assign("ranking", "u", headers={"x-qa": "on"})
    assert (overridden.served.reason, overridden.override) == ("OVERRIDE", 0)
