"""What the engine is told: everything resolved, and nothing that a request could not hold."""

from __future__ import annotations

import json
from typing import Any

from turnout_server.engine import snapshot
from turnout_server.routing.route import Mirror, Override, Route, Target, When
from turnout_server.routing.table import RouteTable
from turnout_server.routing.view import View
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec

ROUTE = Route(
    "s",
    (Target("a", "price", "champion", 0.1), Target("b", "price", "gone", 0.2), Target("off", "rank", 3, 0.0)),
    "price",
    (Override(When({"x-qa": "on"}, ("half \ud800", "u")), "b"),),
    (Mirror("rank", 1, 0.0),),
    "a",
)
VIEW = View(RouteTable({"cost": ROUTE}, "digest"), {"price": {"champion": 2}})


def told(view: View = VIEW) -> dict[str, Any]:
    """Return what the engine is told where `rank` still answers, though the store has lost it."""
    return json.loads(snapshot.names(view, ["price", "new"], {"price": [2, 1], "rank": [3], "old": []}))


def test_targets_come_with_the_versions_that_they_have_now() -> None:
    (route,) = told()["routes"]
    assert [(target["name"], target["version"]) for target in route["targets"]] == [("a", 2), ("b", None), ("off", 3)]
    assert (route["fallback"], route["total"], route["epoch"]) == (0, 0.1 + 0.2, VIEW.epoch_of("cost"))
    assert told()["digest"] == "digest"


def test_weights_and_propensities_lose_no_bit() -> None:
    (route,) = told()["routes"]
    assert [target["weight"] for target in route["targets"]] == [0.1, 0.2, 0.0]
    assert [target["propensity"] for target in route["targets"]] == list(
        VIEW.table.require("cost").propensities.values()
    )


def test_what_no_request_can_hold_matches_none() -> None:
    (override,) = told()["routes"][0]["overrides"]
    assert override == {"headers": {"x-qa": "on"}, "units": [None, "u"], "target": 1}


def test_mirrors_are_told_by_their_places() -> None:
    assert told()["routes"][0]["mirrors"] == [0.0]
    some = Route(ROUTE.salt, ROUTE.targets, ROUTE.task, mirrors=(Mirror("rank", 1, 0.1), Mirror("rank", 2, 1.0)))
    assert told(View(RouteTable({"cost": some})))["routes"][0]["mirrors"] == [0.1, 1.0]


def test_models_are_those_that_the_store_has_or_that_answer() -> None:
    assert told()["models"] == [
        {"name": "new", "available": [], "labels": {}},
        {"name": "price", "available": [1, 2], "labels": {"champion": 2}},
        {"name": "rank", "available": [3], "labels": {}},
    ]


def test_of_a_signature_tensors_and_features_are_told() -> None:
    matrix = TensorSpec("x", DType.FP32, (-1, 2), columns=(Column("age", 1.0), Column("hour")))
    text = TensorSpec("cut", DType.BYTES, (-1,), default="Idéal")
    assert json.loads(snapshot.signature(Signature(inputs=(matrix, text), outputs=(), batched=False))) == {
        "inputs": [
            {"name": "x", "dtype": "FP32", "shape": [-1, 2]},
            {"name": "cut", "dtype": "BYTES", "shape": [-1]},
        ],
        "outputs": [],
        "batched": False,
        "max_rows": None,
        "max_elements": None,
        "features": [
            {
                "rows": -1,
                "tail": [2],
                "features": [{"name": "age", "default": "0000803f"}, {"name": "hour", "default": None}],
            },
            {"rows": -1, "tail": [], "features": [{"name": "cut", "default": "Idéal".encode().hex()}]},
        ],
    }


def test_inputs_that_are_no_features_have_none_to_tell_of() -> None:
    inputs = (TensorSpec("x", DType.FP32, (-1, -1)), TensorSpec("y", DType.FP32, (-1,)))
    told = json.loads(snapshot.signature(Signature(inputs=inputs, outputs=())))["features"]
    assert told == [None, {"rows": -1, "tail": [], "features": [{"name": "y", "default": None}]}]


def test_features_with_a_default_that_is_none_are_not_told_of() -> None:
    for spec in (
        TensorSpec("x", DType.INT8, (-1,), default=0.5),
        TensorSpec("x", DType.BYTES, (-1,), default="half \ud800"),
    ):
        assert json.loads(snapshot.signature(Signature(inputs=(spec,), outputs=())))["features"] is None
