"""Calls that are no inferences by the Open Inference Protocol: the typed ones, and those that look at things."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from google.protobuf.message import Message

from tests.differential import infers
from tests.differential.calls import ANY
from tests.differential.inferences import NAMES, PINS
from tests.differential.world import HEADERS, UNITS, World
from turnout.v1 import (
    features_pb2,
    model_service_pb2,
    outcome_service_pb2,
    pricing_service_pb2,
    ranking_service_pb2,
    recommendation_service_pb2,
    route_service_pb2,
    served_pb2,
)
from turnout_server.rpc.stubs import open_inference_pb2 as pb

Made = tuple[str, Message]
"""A method, and a request for it."""

FEATURES = ("carat", "cut", "price", "discount", "hour", "nonsense", "", "ü", "features", "x" * 300)
VALUES = (0.0, 1.0, -2.5, math.nan, math.inf, 1e30, 7.0)
INTEGERS = (0, 1, -1, 2**53 + 1, 2**63 - 1)
STRINGS = ("Ideal", "Good", "", "ü", "漢", "1")


def anything(random: Random, world: World) -> tuple[str, Message, str]:
    """Return an `Infer`, and what is odd about it."""
    name = random.choice((*world.models, *world.routes))
    request, about = infers.infer(random, world.signature(name))
    request.selector.CopyFrom(_selector(random, world, name))
    return ANY, request, about


def typed(random: Random, world: World) -> Made:
    """Return a typed call; every other one asks the route that it should, with features that it knows."""
    return random.choice((_price, _rank, _recommend))(random, world)


def _selector(random: Random, world: World, name: str) -> served_pb2.Selector:
    if random.random() < 0.2:
        name = random.choice((*world.models, *world.routes, *NAMES))
    selector = served_pb2.Selector(name=name, unit=random.choice(UNITS))
    if random.random() < 0.2:
        selector.version = random.choice(PINS)
    return selector


def _column(random: Random, name: str, rows: int) -> features_pb2.FeatureColumn:
    column = features_pb2.FeatureColumn(name=name)
    count = random.choice((1, rows, rows, rows, rows + 1, 0))
    kind = random.randrange(10)
    if (name == "cut" and kind < 8) or kind == 0:
        column.strings.values.extend(random.choice(STRINGS) for _ in range(count))
    elif kind < 3:
        column.integers.values.extend(random.choice(INTEGERS) for _ in range(count))
    elif kind < 9:
        column.floats.values.extend(random.choice(VALUES) for _ in range(count))
    return column


def _columns(random: Random, names: Sequence[str], rows: int) -> list[features_pb2.FeatureColumn]:
    chosen = random.sample(names, random.randint(max(0, len(names) - 1), len(names)))
    if random.random() < 0.2:
        chosen.append(random.choice(FEATURES))
    return [_column(random, name, rows) for name in chosen]


def _matrix(
    random: Random, columns: list[features_pb2.FeatureColumn], rows: int
) -> tuple[list[features_pb2.FeatureColumn], features_pb2.FeatureMatrix | None]:
    """Return some of *columns*, and a matrix in place of the others now and then."""
    if random.random() < 0.5:
        return columns, None
    packed = [column for column in columns if column.name != "cut" and random.random() < 0.8]
    names = [column.name for column in packed]
    if random.random() < 0.05:
        names.append(random.choice(FEATURES))
    count = len(names) * random.choice((1, rows, rows, rows, rows + 1)) + random.choice((0,) * 19 + (1,))
    matrix = features_pb2.FeatureMatrix(names=names, values=random.choices(VALUES, k=count))
    return [column for column in columns if column not in packed], matrix


def _price(random: Random, world: World) -> Made:
    rows = random.choice((0, 1, 1, 3))
    columns, matrix = _matrix(random, _columns(random, ("carat", "cut"), rows), rows)
    request = pricing_service_pb2.PredictPriceRequest(
        selector=_selector(random, world, "price"), features=columns, feature_matrix=matrix
    )
    return "turnout.v1.PricingService/PredictPrice", request


def _rank(random: Random, world: World) -> Made:
    ids = [random.choice((f"c{number}", "", "ü")) for number in range(random.choice((0, 1, 2, 5)))]
    names = ["price", "discount", "hour"]
    random.shuffle(names)
    split = random.randint(0, 3)
    columns, matrix = _matrix(random, _columns(random, names[split:], len(ids)), len(ids))
    request = ranking_service_pb2.RankRequest(
        selector=_selector(random, world, "ranking"),
        candidate_ids=ids,
        context_features=_columns(random, names[:split], 1),
        candidate_features=columns,
        candidate_matrix=matrix,
        top_k=random.choice((0, 0, 1, 3, 100, -1)),
    )
    return "turnout.v1.RankingService/Rank", request


def _recommend(random: Random, world: World) -> Made:
    items = (*map(str, range(99, 114)), "-1", "x", "", str(2**63), "٣")
    request = recommendation_service_pb2.RecommendRequest(
        selector=_selector(random, world, "recommendation"),
        history_item_ids=random.choices(items[:15] if random.random() < 0.8 else items, k=random.randint(0, 6)),
        excluded_item_ids=random.choices(items[:15], k=random.choice((0, 0, 2, 10))),
        top_k=random.choice((0, 0, 1, 5, 1000, 1001, -1)),
    )
    return "turnout.v1.RecommendationService/Recommend", request


def _assign(random: Random, world: World) -> Made:
    headers = {key: random.choice(values) for key, values in HEADERS.items() if random.random() < 0.3}
    if random.random() < 0.1:
        headers |= {f"h-{number}": "" for number in range(200)}
    route = random.choice((*world.routes, *world.routes, *world.models, *NAMES))
    request = route_service_pb2.AssignRequest(route=route, unit=random.choice(UNITS[1:]), headers=headers)
    return "turnout.v1.RouteService/Assign", request


def looking(random: Random, world: World) -> Made:
    """Return a call that looks at something, or that would change what may not be changed."""
    if random.random() < 0.3:
        return _assign(random, world)
    name = random.choice((*world.models, *world.routes, "who", "who", *NAMES))
    version = random.choice(("", "", "1", "2", "4", *PINS))
    page = {"page_size": random.choice((0, 1, 3, 1000, 1001, -1)), "page_token": random.choice(("", "", "x", "who"))}
    oip = "inference.GRPCInferenceService"
    return random.choice(
        (
            (f"{oip}/ModelReady", pb.ModelReadyRequest(name=name, version=version)),
            (f"{oip}/ModelReady", pb.ModelReadyRequest(name=name, version=version)),
            (f"{oip}/ModelMetadata", pb.ModelMetadataRequest(name=name, version=version)),
            (f"{oip}/ModelConfig", pb.ModelConfigRequest(name=name, version=version)),
            (f"{oip}/ServerLive", pb.ServerLiveRequest()),
            (f"{oip}/ServerReady", pb.ServerReadyRequest()),
            (f"{oip}/ServerMetadata", pb.ServerMetadataRequest()),
            (f"{oip}/RepositoryIndex", pb.RepositoryIndexRequest(ready=random.random() < 0.5)),
            (f"{oip}/RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=name)),
            (f"{oip}/RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name=name)),
            (f"{oip}/SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest(name=name)),
            (f"{oip}/SystemSharedMemoryRegister", pb.SystemSharedMemoryRegisterRequest(name=name, key="/x")),
            (f"{oip}/CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest()),
            (f"{oip}/TraceSetting", pb.TraceSettingRequest(model_name=name)),
            (f"{oip}/LogSettings", pb.LogSettingsRequest()),
            ("turnout.v1.ModelService/ListModels", model_service_pb2.ListModelsRequest(**page)),
            ("turnout.v1.ModelService/GetModel", model_service_pb2.GetModelRequest(model=name)),
            ("turnout.v1.ModelService/SetLabel", model_service_pb2.SetLabelRequest(model=name, label="x", version=1)),
            ("turnout.v1.RouteService/ListRoutes", route_service_pb2.ListRoutesRequest(**page)),
            ("turnout.v1.RouteService/GetRoute", route_service_pb2.GetRouteRequest(route=name)),
            ("turnout.v1.RouteService/ApplyRoutes", route_service_pb2.ApplyRoutesRequest(yaml="routes: {}")),
            ("turnout.v1.OutcomeService/Record", outcome_service_pb2.RecordRequest()),
            ("turnout.v1.RouteService/Nothing", route_service_pb2.GetRouteRequest(route=name)),
            ("nobody.Here/Nothing", route_service_pb2.GetRouteRequest(route=name)),
        )
    )
