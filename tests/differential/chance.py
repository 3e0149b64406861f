"""Requests without a unit: their targets are drawn, so two gateways need not agree, but each has to say what may be.

On a route with an experiment nothing is drawn: they get its control.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.differential.answers import Answer
from tests.differential.run import Record
from tests.differential.world import World
from turnout_server.routing.route import Target
from turnout_server.routing.split import shares
from turnout_server.rpc.stubs import open_inference_pb2 as pb

DRAWN = ("UNSTICKY", "FALLBACK")


def problem(world: World, route: str, first: Answer, second: Answer) -> str:
    """Say why the two answers cannot both be right; empty where they can."""
    if first == second:
        return ""
    for answer in (first, second):
        if answer.code == "OK":
            (raw,) = answer.responses
            said = pb.ModelInferResponse.FromString(raw).parameters
            if said["turnout_reason"].string_param not in DRAWN:
                return "differ, though nothing was drawn"
            assigned = said["turnout_assigned_target"].string_param
            if said["turnout_propensity"].double_param != propensities(world, route).get(assigned):
                return f"{assigned} would not be drawn so often"
        elif answer.code == "UNAVAILABLE" and not _may_be_unavailable(world, route):
            return "refused, though everything is there"
    models = {target["model"] for target in world.routes[route]["targets"]}
    if len(models) == 1 and len({first.code, second.code} - {"UNAVAILABLE"}) > 1:
        return "end otherwise, whoever answers"
    return ""


def propensities(world: World, route: str) -> Mapping[str, float]:
    """Return how often each of the route's targets is drawn, for those that are at all."""
    targets = [Target(**target) for target in world.routes[route]["targets"]]
    return {name: share for name, share in shares(targets).items() if share > 0}


def record_problem(world: World, record: Record) -> str:
    """Say what is wrong with the record of a request without a unit; empty for nothing."""
    if record["reason"] not in DRAWN or record["override"] is not None:
        return ""
    expected = propensities(world, record["route"]).get(record["assigned"])
    return "" if record["propensity"] == expected else f"propensity is {record['propensity']}; expected {expected}"


def _may_be_unavailable(world: World, route: str) -> bool:
    return any(target["version"] in (4, "broken") for target in world.routes[route]["targets"]) or route in (
        "dead",
        "ghost",
    )
