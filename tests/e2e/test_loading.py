"""A model that is up to no good costs its own version, and nobody else's."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import onnx
import pytest

import turnout
from tests.e2e.conftest import Gateway, StartGateway
from tests.e2e.probes import eventually
from tests.e2e.tiny_store import publish_graph
from tests.onnx.test_children import COUNT, endless, greedy
from turnout_server.vocabulary.task import Task


def children(gateway: Gateway) -> list[int]:
    """Return the processes that work for the gateway."""
    tasks = Path(f"/proc/{gateway.pid}/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="who works for whom is not to be seen here")
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
    for pid in working:
        eventually(lambda pid=pid: not _is_alive(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
