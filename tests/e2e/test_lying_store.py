"""A store that is no store: what is no plain file, or too large, costs nobody else anything; callers see no paths."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import psutil

from tests.e2e.conftest import Gateway, StartGateway
from tests.e2e.probes import MIB, connected, events, eventually, fp32, unary
from turnout_server.rpc.stubs import open_inference_pb2 as oip

INFER = "inference.GRPCInferenceService/ModelInfer"
METADATA = "inference.GRPCInferenceService/ModelMetadata"
MOST_GROWTH = 150 * MIB
"""Two of the files are of 3 GiB."""


def spoil(store: Path) -> None:
    """Put in the place of files what is none, or too much."""
    labels = {model: store / "models" / model / "labels.json" for model in ("price", "ranking", "recommendation")}
    for path in labels.values():
        path.unlink()
    os.mkfifo(labels["price"])
    labels["ranking"].mkdir()
    labels["recommendation"].symlink_to("labels.json")
    (store / "routes.yaml").unlink()
    (store / "routes.yaml").symlink_to("/dev/zero")
    for path in (store / "models/ranking/9/manifest.json", store / "models/large/1/manifest.json"):
        path.parent.mkdir(parents=True)
        sparse(path)


def sparse(path: Path) -> None:
    with path.open("wb") as writer:
        writer.truncate(3 << 30)


def said(gateway: Gateway) -> str:
    """Return all that callers are told of the store."""
    asked = {
        "inference.GRPCInferenceService/RepositoryIndex": [b""],
        "turnout.v1.ModelService/ListModels": [b""],
        "turnout.v1.RouteService/ListRoutes": [b""],
        INFER: [
            oip.ModelInferRequest(model_name=model, model_version=version).SerializeToString()
            for model, version in (("price", "9"), ("ranking", "9"), ("ranking", "x"), ("large", ""), ("large", "1"))
        ],
        METADATA: [oip.ModelMetadataRequest(name=name).SerializeToString() for name in ("price", "ranking", "large")],
    }
    told = []
    with connected(gateway.address) as channel:
        for method, requests in asked.items():
            for request in requests:
                try:
                    told.append(unary(channel, method)(request, timeout=30).decode(errors="replace"))
                except grpc.RpcError as error:
                    told.append(f"{error.code()} {error.details()} {error.trailing_metadata()}")
    return "\n".join(told)


def knows(gateway: Gateway, model: str, label: str) -> bool:
    with connected(gateway.address) as channel:
        try:
            unary(channel, METADATA)(oip.ModelMetadataRequest(name=model, version=label).SerializeToString())
        except grpc.RpcError:
            return False
    return True


def test_a_store_that_lies_costs_nobody_else_anything(store: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway(store, "--set", "store.poll_s=0.1")
    process = psutil.Process(gateway.pid)
    before = process.memory_info().rss
    spoil(store)
    for model in ("price", "ranking", "recommendation"):
        eventually(lambda model=model: events(gateway, "model has problems", model=model))  # type: ignore[misc]
    eventually(lambda: "MANIFEST" in said(gateway) or "at most 16777216 are read" in said(gateway))
    # Other models are still looked at, and those that were known are served as before.
    labels = store / "models/echo/labels.json"
    labels.chmod(0o644)
    labels.write_text('{"champion": 1, "fresh": 1}')
    eventually(lambda: knows(gateway, "echo", "fresh"))
    assert knows(gateway, "price", "champion")
    with connected(gateway.address) as channel:
        unary(channel, INFER)(fp32(1.0).SerializeToString(), timeout=30)
    assert process.memory_info().rss - before < MOST_GROWTH
    assert str(store) not in said(gateway)
    # Said once, not with every look.
    assert len(events(gateway, "model has problems", model="ranking")) <= 2
    store.rename(store.parent / "away")
    eventually(lambda: events(gateway, "the store cannot be read; what is loaded goes on serving"))
    assert str(store) not in said(gateway)
    assert gateway.terminate() == 0
