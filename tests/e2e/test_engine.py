"""What the engine answers by itself, and what it leaves to Python: both would be answered alike."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.e2e.conftest import DATA_PLANE, Gateway, StartGateway
from tests.e2e.probes import PATIENCE_S, connected, metrics, unary
from turnout_server.rpc.stubs import open_inference_pb2 as oip

pytestmark = pytest.mark.skipif(
    DATA_PLANE not in ("", "engine") or importlib.util.find_spec("turnout_engine") is None,
    reason="the engine does not serve here",
)


def request(*, typed: bool = False, output: str = "") -> bytes:
    asked = oip.ModelInferRequest(model_name="echo-fp32")
    tensor = asked.inputs.add(name="in_fp32", datatype="FP32", shape=[1, 2])
    if typed:
        tensor.contents.fp32_contents.extend([1.0, 2.0])
    else:
        asked.raw_input_contents.append(np.array([1, 2], np.float32).tobytes())
    if output:
        asked.outputs.add(name=output)
    return asked.SerializeToString()


def declined(gateway: Gateway) -> float:
    return sum(metrics(gateway, "turnout_engine_declined_total").values())


def test_numbers_sent_raw_never_come_to_python(tiny_store: Path, start_gateway: StartGateway) -> None:
    """That the others are counted shows that the engine was asked at all."""
    gateway = start_gateway(tiny_store)
    with connected(gateway.address) as channel:
        infer = unary(channel, "inference.GRPCInferenceService/ModelInfer")
        for _ in range(20):
            infer(request(), timeout=PATIENCE_S)
        assert declined(gateway) == 0
        infer(request(typed=True), timeout=PATIENCE_S)
        assert declined(gateway) == 1
        with pytest.raises(grpc.RpcError, match="nonsense"):
            infer(request(output="nonsense"), timeout=PATIENCE_S)
        assert declined(gateway) == 2


def test_a_run_that_nobody_waits_for_ends_and_its_version_can_go(store: Path, start_gateway: StartGateway) -> None:
    """A billion rounds would take days: that the version is unloaded shows that they are not run."""
    gateway = start_gateway(store, "--allow-changes", "--set", "scheduling.inline_below_us=0")
    asked = oip.ModelInferRequest(model_name="slow")
    asked.inputs.add(name="rounds", datatype="INT64", shape=[1])
    asked.raw_input_contents.append(np.array([10**9], np.int64).tobytes())
    with connected(gateway.address) as channel:
        infer = unary(channel, "inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as refused:
            infer(asked.SerializeToString(), timeout=0.5)
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert declined(gateway) == 0
        unload = unary(channel, "inference.GRPCInferenceService/RepositoryModelUnload")
        unload(oip.RepositoryModelUnloadRequest(model_name="slow").SerializeToString(), timeout=PATIENCE_S)
    runs = metrics(gateway, "turnout_run_duration_seconds_count")
    assert runs[("model", "slow"), ("version", "1")] == 1, "it was counted before the version went"
