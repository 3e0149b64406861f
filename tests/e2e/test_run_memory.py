"""What a run takes between its inputs and its outputs is bounded, and bounds batches, as the system sees."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import turnout
from tests.e2e.conftest import DATA_PLANE, Gateway
from tests.e2e.probes import PATIENCE_S, connected, serving, unary
from tests.e2e.tiny_store import publish_graph
from turnout_server.rpc.stubs import open_inference_pb2 as oip
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task

pytestmark = pytest.mark.skipif(DATA_PLANE == "python", reason="without the engine nothing of it is counted")

MIB = 1024 * 1024
LONG, WIDE = 4096, 64
"""Between a row's 4 bytes of input and 4 of output there is a MiB."""
BUDGET_MIB = 64
GROWTH_MIB = 1.5 * BUDGET_MIB
"""What all the runs may take that there are at once is 80 MiB: their own 16, and one large one's 64."""


def wide(file: Path) -> Path:
    """Write a graph that makes a row a matrix, and adds it up."""
    ones = {"long": np.ones((1, LONG), np.float32), "wide": np.ones((1, 1, WIDE), np.float32)}
    nodes = [
        helper.make_node("Mul", ["x", "long"], ["row"]),
        helper.make_node("Unsqueeze", ["row", "last"], ["column"]),
        helper.make_node("Mul", ["column", "wide"], ["matrix"]),
        helper.make_node("ReduceMean", ["matrix"], ["y"], axes=[1, 2], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(value, name) for name, value in (ones | {"last": np.array([2], np.int64)}).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("wide")
    signature = Signature(
        inputs=(TensorSpec("x", DType.FP32, (-1, 1)),), outputs=(TensorSpec("y", DType.FP32, (-1,)),), max_rows=100_000
    )
    publish_graph(folder / "store", "wide", Task.TENSORS, signature, wide(folder / "wide.onnx"), label="champion")
    with serving(folder / "store", folder / "log", "--set", f"limits.memory_bytes={BUDGET_MIB * MIB}") as gateway:
        yield gateway


def peak_mib(gateway: Gateway) -> float:
    """Return the most that the gateway has had resident, in MiB."""
    status = Path(f"/proc/{gateway.pid}/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1024


def asked(channel: grpc.Channel, rows: int, first: float = 1.0) -> list[float]:
    """Return the answers for rows of *first* and the numbers that follow it, which are the same."""
    x = np.arange(rows, dtype=np.float32) + first
    request = oip.ModelInferRequest(model_name="wide", raw_input_contents=[x.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=[rows, 1])
    infer = unary(channel, "inference.GRPCInferenceService/ModelInfer")
    answer = oip.ModelInferResponse.FromString(infer(request.SerializeToString(), timeout=PATIENCE_S))
    return np.frombuffer(answer.raw_output_contents[0], np.float32).tolist()


def test_a_run_that_wants_more_than_there_is_ends_before_it_has_it(gateway: Gateway) -> None:
    with connected(gateway.address) as channel:
        assert asked(channel, 32) == pytest.approx(np.arange(1, 33), rel=1e-3)
        before = peak_mib(gateway)
        for rows in (80, 800, 8_000):
            with pytest.raises(grpc.RpcError) as refused:
                asked(channel, rows)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, refused.value.details()
            details = turnout.errors.status_details(refused.value.trailing_metadata())
            assert details.reason == "MEMORY_FULL"
            assert "not so much ever" in str(refused.value.details())
        assert peak_mib(gateway) < before + GROWTH_MIB
        assert asked(channel, 32) == pytest.approx(np.arange(1, 33), rel=1e-3)


def test_batches_are_no_larger_than_their_memory(gateway: Gateway) -> None:
    before = peak_mib(gateway)
    with connected(gateway.address) as channel, ThreadPoolExecutor(64) as callers:
        found = list(callers.map(lambda one: asked(channel, 2, float(one)), range(256)))
    assert [answer[0] for answer in found] == pytest.approx(range(256), rel=1e-3)
    assert peak_mib(gateway) < before + GROWTH_MIB
