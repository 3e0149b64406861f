"""A model that is up to no good costs its own version, and nobody else's."""

from __future__ import annotations

import signal
from pathlib import Path

import onnx
import psutil

import turnout
from tests.e2e.conftest import Gateway, StartGateway
from tests.e2e.probes import eventually
from tests.e2e.tiny_store import publish_graph
from tests.onnx.test_children import COUNT, endless, greedy
from turnout_server.vocabulary.task import Task


def children(gateway: Gateway) -> list[psutil.Process]:
    """Return the processes that work for the gateway, once there are some: each child has a keeper."""
    found = psutil.Process(gateway.pid).children(recursive=True)
    return found if len(found) > 1 else []


def test_hostile_models_fail_alone_and_no_child_outlives_the_gateway(
    store: Path, tmp_path: Path, start_gateway: StartGateway
) -> None:
    for name, model in {"endless": endless(), "greedy": greedy()}.items():
        onnx.save(model, tmp_path / f"{name}.onnx")
        publish_graph(store, name, Task.TENSORS, COUNT, tmp_path / f"{name}.onnx")
    gateway = start_gateway(store, "--set", "store.load_timeout_s=10", "--set", "store.load_memory_mb=1024")
    failed = {one["model"]: one["detail"] for one in gateway.started["failed"]}
    assert failed == {
        "endless": "its first runs took more than 10 s (store.load_timeout_s)",
        "greedy": "its first runs needed more than 1024 MB (store.load_memory_mb)",
    }
    with turnout.Client(gateway.address) as client:
        assert client.predict_price("price", {"carat": 1, "cut": "Fair"}, version=1).price == 1000
    # The failed ones are tried again, and the endless one keeps its child busy.
    working = eventually(lambda: children(gateway))
    gateway.process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(working, timeout=30)
    assert not alive
