"""Every call that a client can make, without I/O: which method, what goes out, how the answer is read.

`Client` and `AsyncClient` are thin shells that send what these functions build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from turnout import _wire, answers, features, frames, inference, inputs, route_table, v1
from turnout.features import Array, Columns, Frame, Row

Answer = TypeVar("Answer")

MAX_K = 2**31 - 1
PAGE_SIZE = 1000

Ids = Iterable[str | int] | Array
"""Item or candidate ids, in order."""


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC."""

    path: str
    response: type[Any]
    safe: bool = True
    """Whether sending it twice does no more than sending it once, so that it may be retried."""

    @property
    def service(self) -> str:
        """The service's full name."""
        return self.path.split("/")[1]

    @property
    def name(self) -> str:
        """The method's name within the service."""
        return self.path.split("/")[2]


_RECOMMEND = Method("/turnout.v1.RecommendationService/Recommend", v1.RecommendResponse)
_RANK = Method("/turnout.v1.RankingService/Rank", v1.RankResponse)
_PREDICT_PRICE = Method("/turnout.v1.PricingService/PredictPrice", v1.PredictPriceResponse)
_INFER = Method("/turnout.v1.InferenceService/Infer", v1.InferResponse)
_LIST_MODELS = Method("/turnout.v1.ModelService/ListModels", v1.ListModelsResponse)
_GET_MODEL = Method("/turnout.v1.ModelService/GetModel", v1.GetModelResponse)
_SET_LABEL = Method("/turnout.v1.ModelService/SetLabel", v1.SetLabelResponse, safe=False)
_LIST_ROUTES = Method("/turnout.v1.RouteService/ListRoutes", v1.ListRoutesResponse)
_GET_ROUTE = Method("/turnout.v1.RouteService/GetRoute", v1.GetRouteResponse)
_ASSIGN = Method("/turnout.v1.RouteService/Assign", v1.AssignResponse)
_APPLY_ROUTES = Method("/turnout.v1.RouteService/ApplyRoutes", v1.ApplyRoutesResponse, safe=False)
_CHECK_HEALTH = Method("/grpc.health.v1.Health/Check", _wire.HealthCheckResponse)

METHODS = (
    _RECOMMEND,
    _RANK,
    _PREDICT_PRICE,
    _INFER,
    _LIST_MODELS,
    _GET_MODEL,
    _SET_LABEL,
    _LIST_ROUTES,
    _GET_ROUTE,
    _ASSIGN,
    _APPLY_ROUTES,
    _CHECK_HEALTH,
)


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One request, and how to read its response."""

    method: Method
    request: Message
    read: Callable[[Any], Answer]


# ---------------------------------------------------------------- the data plane


def recommend(
    route: str, history: Ids, *, unit: str, version: int | str | None, exclude: Ids, k: int
) -> Call[answers.Recommendations]:
    """Build `Client.recommend`."""
    request = v1.RecommendRequest(
        selector=_selector(route, version, unit),
        history_item_ids=_ids("history", history),
        excluded_item_ids=_ids("exclude", exclude),
        top_k=_k(k),
    )
    return Call(_RECOMMEND, request, answers.read_recommendations)


def rank(
    route: str,
    candidates: Mapping[str, Row] | Frame | None,
    *,
    ids: Ids | str | None,
    columns: Columns | Frame | None,
    context: Row | None,
    unit: str,
    version: int | str | None,
    k: int | None,
) -> Call[answers.Ranking]:
    """Build `Client.rank`."""
    if (candidates is None) == (ids is None) or (candidates is not None and columns is not None):
        raise TypeError("rank takes either candidates={id: features}, or ids=[...] and columns={feature: values}")
    if isinstance(ids, str) and frames.is_frame(columns):
        ids, columns = _split(ids, frames.columns_of(columns))
    if frames.is_frame(candidates):
        index = frames.shape_of(candidates).index
        if index is None:
            raise TypeError("rows of Polars have no labels; expected ids='the column that has them', columns=frame")
        names = _ids("candidates", index)
        candidate_features = features.from_columns(candidates, len(names))
    elif candidates is not None:
        names = _ids("candidates", candidates)
        candidate_features = features.from_rows(list(candidates.values()), lambda row: f"candidate {names[row]!r}")
    else:
        names = _ids("ids", () if ids is None else ids)
        candidate_features = features.from_columns({} if columns is None else columns, len(names))
    packed = features.pack(candidate_features, len(names))
    request = v1.RankRequest(
        selector=_selector(route, version, unit),
        candidate_ids=names,
        context_features=features.from_row(context or {}, "the context"),
        candidate_features=packed.columns,
        candidate_matrix=packed.matrix,
        top_k=0 if k is None else _k(k),
    )
    return Call(_RANK, request, answers.read_ranking)


def predict_price(route: str, row: Row | Frame, *, unit: str, version: int | str | None) -> Call[answers.Price]:
    """Build `Client.predict_price`."""
    request = v1.PredictPriceRequest(
        selector=_selector(route, version, unit), features=features.from_row(row, "the row")
    )
    return Call(_PREDICT_PRICE, request, answers.read_price)


def predict_prices(
    route: str,
    rows: Sequence[Row] | Frame | None,
    *,
    columns: Columns | Frame | None,
    unit: str,
    version: int | str | None,
) -> Call[answers.Prices]:
    """Build `Client.predict_prices`."""
    if (rows is None) == (columns is None):
        raise TypeError("predict_prices takes either rows=[{feature: value}, ...] or columns={feature: values}")
    if isinstance(rows, Mapping):
        raise TypeError("predict_prices takes a list of rows; one row is for predict_price, columns go by columns=...")
    if rows is None or frames.is_frame(rows):
        found = features.from_columns(columns if rows is None else rows)
    else:
        found = features.from_rows([features.as_row(row, "row {}".format, place) for place, row in enumerate(rows)])
    packed = features.pack(found, max((len(column.floats.values) for column in found), default=0))
    request = v1.PredictPriceRequest(
        selector=_selector(route, version, unit), features=packed.columns, feature_matrix=packed.matrix
    )
    return Call(_PREDICT_PRICE, request, answers.read_prices)


def infer(
    name: str,
    data: inputs.Data,
    *,
    tensors: Mapping[str, Any] | None,
    unit: str,
    version: int | str | None,
    outputs: Iterable[str] | None,
) -> Call[inference.Inference]:
    """Build `Client.infer`, for data whose values have names."""
    if isinstance(outputs, str):
        raise TypeError(f"outputs is a list of names; found the text {outputs!r}")
    found = inputs.read(data, tensors)
    request = v1.InferRequest(
        selector=_selector(name, version, unit),
        features=found.features,
        feature_matrix=found.matrix,
        tensors=found.tensors,
        outputs=[_text("outputs", one) for one in outputs or ()],
    )
    like = frames.shape_of(data) if frames.is_frame(data) else None
    return Call(_INFER, request, lambda response: inference.read(response, like))


# ---------------------------------------------------------------- models


def models(page_token: str) -> Call[v1.ListModelsResponse]:
    """Build one page of `Client.models`."""
    return Call(_LIST_MODELS, v1.ListModelsRequest(page_size=PAGE_SIZE, page_token=page_token), _unread)


def model(name: str) -> Call[answers.Model]:
    """Build `Client.model`."""
    request = v1.GetModelRequest(model=_text("model", name))
    return Call(_GET_MODEL, request, lambda response: answers.read_model(response.model))


def set_label(model: str, label: str, version: int | None, expected_version: int | None) -> Call[answers.Model]:
    """Build `Client.set_label`, and with no *version* `Client.remove_label`."""
    if version is not None and version < 1:
        raise ValueError(f"version must be 1 or more; found {version}")
    request = v1.SetLabelRequest(
        model=_text("model", model),
        label=_text("label", label),
        version=version or 0,
        expected_version=expected_version,
    )
    return Call(_SET_LABEL, request, lambda response: answers.read_model(response.model))


# ---------------------------------------------------------------- routes


def routes(page_token: str) -> Call[v1.ListRoutesResponse]:
    """Build one page of `Client.routes`."""
    return Call(_LIST_ROUTES, v1.ListRoutesRequest(page_size=PAGE_SIZE, page_token=page_token), _unread)


def route(name: str) -> Call[route_table.Route]:
    """Build `Client.route`."""
    request = v1.GetRouteRequest(route=_text("route", name))
    return Call(_GET_ROUTE, request, lambda response: route_table.read_route(response.route))


def assign(route: str, unit: str, headers: Mapping[str, str] | None) -> Call[route_table.Assignment]:
    """Build `Client.assign`."""
    request = v1.AssignRequest(route=_text("route", route), unit=_text("unit", unit), headers=headers or {})
    return Call(_ASSIGN, request, route_table.read_assignment)


def apply_routes(yaml: str, expected_digest: str, validate_only: bool) -> Call[str]:
    """Build `Client.apply_routes`."""
    request = v1.ApplyRoutesRequest(yaml=yaml, expected_digest=expected_digest, validate_only=validate_only)
    return Call(_APPLY_ROUTES, request, lambda response: str(response.table_digest))


def health(service: str) -> Call[str]:
    """Build `Client.health`."""
    return Call(
        _CHECK_HEALTH,
        _wire.HealthCheckRequest(service=service),
        lambda response: _wire.HEALTH_STATES.get(response.status, str(response.status)),
    )


# ---------------------------------------------------------------- parts


def _selector(name: str, version: int | str | None, unit: str) -> v1.Selector:
    pinned = "" if version is None else str(version)
    return v1.Selector(name=_text("route", name), version=pinned, unit=_text("unit", unit))


def _ids(what: str, given: Ids) -> list[str]:
    """Return ids as a list of text; a lone string would pass for a sequence of its letters."""
    plain: Any = frames.values_of(what, given) if frames.is_series(given) else given
    plain = plain.tolist() if hasattr(plain, "tolist") else plain
    if isinstance(plain, str):
        raise TypeError(f"{what} is a list of ids; found the text {plain!r}")
    return [one if isinstance(one, str) else _id(what, one, position) for position, one in enumerate(plain)]


def _split(ids: str, columns: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the column *ids*, and the others."""
    if ids not in columns:
        raise ValueError(f"ids: there is no column {ids!r}; there are {', '.join(columns)}")
    return columns[ids], {name: values for name, values in columns.items() if name != ids}


def _id(what: str, given: object, position: int) -> str:
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"{what}: ids are text or integers; found {given!r} at position {position}")
    return str(given)


def _text(what: str, given: str) -> str:
    if not isinstance(given, str):
        raise TypeError(f"{what} must be text; found {given!r}")
    return given


def _k(k: int) -> int:
    if not 1 <= k <= MAX_K:
        raise ValueError(f"k must be 1 or more; found {k}")
    return k


def _unread(response: Any) -> Any:
    return response
