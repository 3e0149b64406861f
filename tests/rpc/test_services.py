"""Every service of the protos has a servicer with all of its methods."""

from __future__ import annotations

from typing import Any, cast

from turnout_server.config import Config
from turnout_server.rpc.services import services_of


def test_every_method_of_the_protos_is_there() -> None:
    nothing = cast(Any, object())
    services = services_of(nothing, nothing, nothing, Config(), ready=lambda: True)
    assert sorted(service.full_name for service in services) == [
        "inference.GRPCInferenceService",
        "turnout.v1.InferenceService",
        "turnout.v1.ModelService",
        "turnout.v1.OutcomeService",
        "turnout.v1.PricingService",
        "turnout.v1.RankingService",
        "turnout.v1.RecommendationService",
        "turnout.v1.RouteService",
    ]
    missing = [
        method.full_name
        for service, servicer in services.items()
        for method in service.methods
        if not callable(getattr(servicer, method.name, None))
    ]
    assert missing == []
