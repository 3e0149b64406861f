"""Every service of the gateway, with the servicer that answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

from turnout.v1 import (
    inference_service_pb2,
    model_service_pb2,
    outcome_service_pb2,
    pricing_service_pb2,
    ranking_service_pb2,
    recommendation_service_pb2,
    route_service_pb2,
)
from turnout_server.config import Config
from turnout_server.gateway.administration import Administration
from turnout_server.gateway.catalog import Catalog
from turnout_server.gateway.data_plane import DataPlane
from turnout_server.gateway.spans import Spans
from turnout_server.instruments.instruments import Instruments
from turnout_server.rpc.elements import Messages
from turnout_server.rpc.open_inference import codec
from turnout_server.rpc.open_inference.servicer import OpenInferenceServicer
from turnout_server.rpc.stubs import open_inference_pb2
from turnout_server.rpc.turnout_v1 import inference, pricing, ranking, recommendation
from turnout_server.rpc.turnout_v1.inference import InferenceService
from turnout_server.rpc.turnout_v1.models import ModelService
from turnout_server.rpc.turnout_v1.outcomes import OutcomeService, Take
from turnout_server.rpc.turnout_v1.pricing import PricingService
from turnout_server.rpc.turnout_v1.ranking import RankingService
from turnout_server.rpc.turnout_v1.recommendation import RecommendationService
from turnout_server.rpc.turnout_v1.routes import RouteService
from turnout_server.vocabulary.query import Prepare


class _Module(Protocol):
    DESCRIPTOR: FileDescriptor


READERS: Mapping[str, Callable[[bytes], Prepare]] = {
    "inference.GRPCInferenceService/ModelInfer": codec.copied,
    "inference.GRPCInferenceService/ModelStreamInfer": codec.copied,
    "turnout.v1.InferenceService/Infer": inference.copied,
    "turnout.v1.RankingService/Rank": ranking.copied,
    "turnout.v1.PricingService/PredictPrice": pricing.copied,
    "turnout.v1.RecommendationService/Recommend": recommendation.copied,
}
"""By method, how the message of a request that was answered once already becomes inputs that fit a signature."""


def services_of(
    data_plane: DataPlane,
    catalog: Catalog,
    administration: Administration,
    config: Config,
    ready: Callable[[], bool],
    spans: Spans | None = None,
    instruments: Instruments | None = None,
    take_outcomes: Take | None = None,
) -> Mapping[ServiceDescriptor, object]:
    """Return the servicers by the descriptor of the service that they answer.

    Args:
        data_plane: serves predictions.
        catalog: for looking.
        administration: for changing.
        config: the process's configuration.
        ready: whether the server should get traffic.
        spans: traces the messages of streams; None does not.
        instruments: counts them; None for nobody.
        take_outcomes: keeps outcomes; None where none are kept.
    """
    service = _service(open_inference_pb2)
    method = f"{service.full_name}/ModelStreamInfer"
    messages = Messages(method, spans or Spans(), instruments or Instruments())
    tensors = OpenInferenceServicer(
        data_plane,
        catalog,
        administration,
        config.allow_shared_memory,
        ready=ready,
        log_level=config.telemetry.log_level,
        answers=config.open_inference.answers,
        watched=messages.one,
    )
    return {
        service: tensors,
        _service(inference_service_pb2): InferenceService(data_plane),
        _service(recommendation_service_pb2): RecommendationService(data_plane),
        _service(ranking_service_pb2): RankingService(data_plane),
        _service(pricing_service_pb2): PricingService(data_plane),
        _service(model_service_pb2): ModelService(catalog, administration),
        _service(route_service_pb2): RouteService(catalog, administration),
        _service(outcome_service_pb2): OutcomeService(take_outcomes),
    }


def _service(module: _Module) -> ServiceDescriptor:
    (service,) = module.DESCRIPTOR.services_by_name.values()
    return service
