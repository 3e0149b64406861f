"""A gateway that answers with arithmetic, on a real gRPC server, and fails on demand."""

# ruff: noqa: N802 - methods have their RPCs' names

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from turnout import v1

PAGE = 2
"""The fake's pages are this small, whatever a caller asks for."""


@dataclass
class Seen:
    """One attempt as the server saw it."""

    method: str
    request: Any
    metadata: dict[str, str]
    time_remaining: float | None


@dataclass
class Failure:
    """How one attempt shall fail."""

    code: grpc.StatusCode
    message: str = "no"
    trailing: dict[str, str | bytes] = field(default_factory=dict)


def status_details(
    reason: str, retry_after: float | None = None, metadata: Mapping[str, str] | None = None
) -> dict[str, str | bytes]:
    """Return trailing metadata with the real google.rpc messages."""
    info = Packed()
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="turnout", metadata=metadata))
    details = [info]
    if retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(round(retry_after * 1e9))
        retry = Packed()
        retry.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        details.append(retry)
    return {"grpc-status-details-bin": status_pb2.Status(code=5, message="no", details=details).SerializeToString()}


class FakeGateway(
    v1.RecommendationServiceServicer,
    v1.RankingServiceServicer,
    v1.PricingServiceServicer,
    v1.InferenceServiceServicer,
    v1.ModelServiceServicer,
    v1.OutcomeServiceServicer,
    v1.RouteServiceServicer,
):
    """All of `turnout.v1`; what it saw is in `seen`, what it shall fail with in `failures`."""

    def __init__(self, port: int = 0) -> None:
        self.seen: list[Seen] = []
        self.failures: deque[Failure] = deque()
        self.open = threading.Event()
        """Calls wait for this."""
        self.open.set()
        self.labels = {"champion": 3}
        self.outcomes: dict[str, v1.Outcome] = {}
        """Those that were kept, by id."""
        self.inputs = [v1.Tensor(name="x", datatype="FP32", shape=[-1, 2], columns=["carat", "depth"])]
        options = [("grpc.max_receive_message_length", 1 << 20), ("grpc.so_reuseport", 0)]
        self._server = grpc.server(ThreadPoolExecutor(8), options=options, interceptors=[_Recorder(self)])
        v1.add_RecommendationServiceServicer_to_server(self, self._server)
        v1.add_RankingServiceServicer_to_server(self, self._server)
        v1.add_PricingServiceServicer_to_server(self, self._server)
        v1.add_InferenceServiceServicer_to_server(self, self._server)
        v1.add_ModelServiceServicer_to_server(self, self._server)
        v1.add_OutcomeServiceServicer_to_server(self, self._server)
        v1.add_RouteServiceServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.target = f"127.0.0.1:{self.port}"
        secure_port = self._server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
        self.secure_target = f"127.0.0.1:{secure_port}"
        self._server.start()

    def stop(self) -> None:
        self.open.set()
        self._server.stop(0).wait()

    @property
    def methods(self) -> list[str]:
        """The methods of the attempts seen, in order."""
        return [one.method for one in self.seen]

    # ---------------------------------------------------------------- the services

    def Recommend(self, request: v1.RecommendRequest, context: Any) -> v1.RecommendResponse:
        taken = {*request.history_item_ids, *request.excluded_item_ids}
        items = [f"item-{number}" for number in range(50) if f"item-{number}" not in taken][: request.top_k or 10]
        return v1.RecommendResponse(
            items=[v1.RecommendedItem(item_id=item, score=1 / (rank + 1)) for rank, item in enumerate(items)],
            served=_served(request.selector, "next-basket"),
        )

    def Rank(self, request: v1.RankRequest, context: Any) -> v1.RankResponse:
        scores = [0.0] * len(request.candidate_ids)
        wide = len(request.candidate_matrix.names)
        for values in (
            *(column.floats.values or column.integers.values for column in request.candidate_features),
            *(request.candidate_matrix.values[place::wide] for place in range(wide)),
        ):
            for index in range(len(scores) if values else 0):
                scores[index] += values[index if len(values) > 1 else 0]
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        if request.top_k:
            order = order[: request.top_k]
        return v1.RankResponse(
            candidates=[v1.RankedCandidate(id=request.candidate_ids[i], score=scores[i], index=i) for i in order],
            served=_served(request.selector, "basket"),
        )

    def PredictPrice(self, request: v1.PredictPriceRequest, context: Any) -> v1.PredictPriceResponse:
        columns = [column.floats.values or column.integers.values for column in request.features]
        rows = max(map(len, columns), default=1)
        prices = [100.0 * sum(c[row if len(c) > 1 else 0] for c in columns if c) for row in range(max(rows, 1))]
        return v1.PredictPriceResponse(
            prices=[v1.PredictedPrice(price=price, low=price / 2, high=price * 2) for price in prices],
            served=_served(request.selector, "diamonds"),
        )

    def Infer(self, request: v1.InferRequest, context: Any) -> v1.InferResponse:
        """Answer with `total`, the sum of each row's numbers, and with every whole input as it is."""
        columns = features_of(request)
        rows = max(map(len, columns.values()), default=1)
        numbers = [values for values in columns.values() if not isinstance(values[0], str)]
        total = [sum(values[row if len(values) > 1 else 0] for values in numbers) for row in range(rows)]
        outputs = {"total": answered("total", np.array(total, np.float32))}
        outputs |= {tensor.name: answered(tensor.name, array_of(tensor)) for tensor in request.tensors}
        wanted = request.outputs or outputs
        return v1.InferResponse(
            outputs=[outputs[name] for name in wanted], served=_served(request.selector, "anything")
        )

    def ListModels(self, request: v1.ListModelsRequest, context: Any) -> v1.ListModelsResponse:
        names = ["a", "b", "c", "d", "e"]
        start = int(request.page_token or 0)
        rest = str(start + PAGE) if start + PAGE < len(names) else ""
        return v1.ListModelsResponse(
            models=[v1.Model(name=name) for name in names[start : start + PAGE]], next_page_token=rest
        )

    def GetModel(self, request: v1.GetModelRequest, context: Any) -> v1.GetModelResponse:
        version = v1.ModelVersion(
            version=3,
            task="price",
            state=v1.MODEL_STATE_AVAILABLE,
            framework="lightgbm",
            metrics={"rmse": 517.0},
            inputs=self.inputs,
        )
        version.create_time.FromJsonString("2026-11-05T12:00:00Z")
        return v1.GetModelResponse(model=v1.Model(name=request.model, versions=[version], labels=self.labels))

    def SetLabel(self, request: v1.SetLabelRequest, context: Any) -> v1.SetLabelResponse:
        if request.HasField("expected_version") and self.labels.get(request.label, 0) != request.expected_version:
            _abort(context, Failure(grpc.StatusCode.ABORTED, "it moved", status_details("STALE_WRITE")))
        if request.version:
            self.labels[request.label] = request.version
        else:
            self.labels.pop(request.label, None)
        return v1.SetLabelResponse(model=v1.Model(name=request.model, labels=self.labels))

    def ListRoutes(self, request: v1.ListRoutesRequest, context: Any) -> v1.ListRoutesResponse:
        if not request.page_token:
            return v1.ListRoutesResponse(routes=[_route("price")], next_page_token="more", table_digest="d1")
        return v1.ListRoutesResponse(routes=[_route("ranking")], table_digest="d2", table_problem="$.routes: no")

    def GetRoute(self, request: v1.GetRouteRequest, context: Any) -> v1.GetRouteResponse:
        return v1.GetRouteResponse(route=_route(request.route))

    def Assign(self, request: v1.AssignRequest, context: Any) -> v1.AssignResponse:
        overridden = request.headers.get("x-qa") == "on"
        reason = v1.REASON_OVERRIDE if overridden else v1.REASON_SPLIT
        served = v1.Served(route=request.route, target="control", model="basket", version=3, reason=reason)
        draws = {
            "price": v1.ExperimentDraws(holdout=0.25, bucket=0, enrolment=0.5),
            "alone": v1.ExperimentDraws(enrolment=0.5),
        }
        return v1.AssignResponse(
            served=served,
            override_index=0 if overridden else -1,
            draws=draws.get(request.route),
            scores={"control": 0.5},
        )

    def ApplyRoutes(self, request: v1.ApplyRoutesRequest, context: Any) -> v1.ApplyRoutesResponse:
        return v1.ApplyRoutesResponse(table_digest=f"{len(request.yaml)}:{request.validate_only}")

    def Record(self, request: v1.RecordRequest, context: Any) -> v1.RecordResponse:
        """Keep what has an id that is new, but for what is called `wrong`."""
        results = []
        for outcome in request.outcomes:
            fate, reason = v1.OUTCOME_FATE_ACCEPTED, ""
            if outcome.name == "wrong":
                fate, reason = v1.OUTCOME_FATE_REJECTED, "NAME_INVALID"
            elif outcome.outcome_id in self.outcomes:
                fate = v1.OUTCOME_FATE_DUPLICATE
            else:
                self.outcomes[outcome.outcome_id] = outcome
            results.append(v1.OutcomeResult(outcome_id=outcome.outcome_id, fate=fate, reason=reason))
        return v1.RecordResponse(results=results)


def features_of(request: v1.InferRequest) -> dict[str, list[Any]]:
    """Return the values of a request's features by name."""
    columns = {one.name: list(getattr(one, one.WhichOneof("values") or "").values) for one in request.features}
    matrix = request.feature_matrix
    wide = len(matrix.names)
    return columns | {name: list(matrix.values[place::wide]) for place, name in enumerate(matrix.names)}


_DTYPES = {"BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2"}
_DTYPES |= {"INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
_FIELDS = {"floats": "FP32", "doubles": "FP64", "integers": "INT64", "unsigneds": "UINT64"}


def array_of(tensor: v1.NamedTensor) -> Any:
    """Return a request's whole input as a server reads it."""
    field = tensor.WhichOneof("values")
    if field is None:
        return np.empty(tensor.shape, np.float32)
    if field == "raw":
        return np.frombuffer(tensor.raw, _DTYPES[tensor.datatype]).reshape(tensor.shape)
    dtype = _DTYPES[_FIELDS[field]] if field in _FIELDS else object
    return np.array(getattr(tensor, field).values[:], dtype).reshape(tensor.shape)


def answered(name: str, array: Any) -> v1.NamedTensor:
    """Return an output as a server writes it."""
    names = {np.dtype(dtype): datatype for datatype, dtype in _DTYPES.items()}
    datatype = names.get(array.dtype, "BYTES")
    tensor = v1.NamedTensor(name=name, datatype=datatype, shape=array.shape)
    values = array.ravel().tolist()
    if datatype == "BYTES":
        tensor.strings.values.extend(one.decode() if isinstance(one, bytes) else one for one in values)
    elif datatype in ("FP16", "FP32"):
        tensor.floats.values.extend(values)
    elif datatype == "FP64":
        tensor.doubles.values.extend(values)
    elif datatype == "UINT64":
        tensor.unsigneds.values.extend(values)
    else:
        tensor.integers.values.extend(map(int, values))
    return tensor


def _served(selector: v1.Selector, model: str) -> v1.Served:
    if selector.version:
        return v1.Served(model=model, version=int(selector.version), reason=v1.REASON_PINNED)
    reason = v1.REASON_SPLIT if selector.unit else v1.REASON_UNSTICKY
    return v1.Served(route=selector.name, target="control", model=model, version=3, reason=reason)


def _route(name: str) -> v1.Route:
    return v1.Route(
        name=name,
        task="price",
        salt="salt",
        targets=[
            v1.Target(name="control", model="diamonds", version="champion", weight=90, serving_version=3),
            v1.Target(name="canary", model="diamonds", version="challenger", weight=10),
        ],
        overrides=[v1.Override(headers={"x-qa": "on"}, units=["u1"], target="canary")],
        mirrors=[v1.Mirror(model="diamonds", version="7", fraction=0.05)],
        fallback="control",
        experiment=v1.Experiment(
            name="canary-2026",
            control="control",
            layer=v1.Layer(name="checkout", salt="checkout-2026", holdout=0.05),
            buckets=[v1.Buckets(first=0, end=300), v1.Buckets(first=400, end=401)],
            enrolment=0.25,
        )
        if name == "price"
        else None,
        rollout=v1.Rollout(
            experiment="canary-2026",
            enrolment=0.25,
            table_enrolment=0.1,
            decide_time=Timestamp(seconds=1795953600),
            by="ada",
            how="turnout experiment ramp",
            why="it goes well",
        )
        if name == "price"
        else None,
    )


def _abort(context: Any, failure: Failure) -> None:
    context.set_trailing_metadata(tuple(failure.trailing.items()))
    context.abort(failure.code, failure.message)


class _Recorder(grpc.ServerInterceptor):  # type: ignore[misc]
    """Notes each attempt, holds it while the gateway is shut, and fails it when a failure waits."""

    def __init__(self, gateway: FakeGateway) -> None:
        self._gateway = gateway

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None:
            return None

        def behave(request: Any, context: Any) -> Any:
            gateway, method = self._gateway, details.method.rpartition("/")[2]
            gateway.seen.append(Seen(method, request, dict(context.invocation_metadata()), context.time_remaining()))
            gateway.open.wait()
            if gateway.failures:
                _abort(context, gateway.failures.popleft())
            return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(behave, handler.request_deserializer, handler.response_serializer)
