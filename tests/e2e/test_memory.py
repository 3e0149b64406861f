"""What is unloaded is gone: memory, files and threads come back, however often versions come and go.

Measured from outside, as the operating system sees it. What a bound is made of stands beside it.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import turnout
from tests.e2e.conftest import Gateway, StartGateway
from tests.e2e.probes import Usage, administer, connected, events, eventually, infer, usage
from tests.e2e.tiny_store import publish_graph
from turnout_server.rpc.stubs import open_inference_pb2 as oip
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task

WIDTH = 4
LARGE, SMALL = 2**19, 2**17
"""Rows of weights: 8 MiB and 2 MiB. The loader checks a large graph in a process of its own, and a small one itself."""
GROWTH_MIB = 32.0
"""How much a gateway may have grown in the end: room for two large versions at the change, each held twice while it
loads. If what is unloaded leaked, fifty small versions would take 100 MiB, a dozen large ones 96, and thirty halves
of large ones 120. Measured: less than 2 MiB each time.
"""
MESSAGE_MIB = 4
MESSAGES_GROWTH_MIB = 24 * MESSAGE_MIB
"""The same where requests are large: the C library's allocator keeps some buffers of a size that comes again, in each
of gRPC's threads. If messages leaked, a hundred there and back would take 800 MiB."""
SIGNATURE = Signature(
    inputs=(TensorSpec("x", DType.INT64, (-1,)),), outputs=(TensorSpec("y", DType.FP32, (-1, WIDTH)),)
)


def heavy(file: Path, seed: int, rows: int = SMALL) -> Path:
    """Write a graph that looks up rows of its weights: it is large, and quick to run."""
    weights = np.random.default_rng(seed).standard_normal((rows, WIDTH), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["weights", "x"], ["y"])],
        "heavy",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", WIDTH])],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


@pytest.fixture
def gateway(store: Path, tmp_path: Path, start_gateway: StartGateway) -> Gateway:
    """A gateway of its own with the model `heavy`, which looks at its store twenty times a second."""
    publish_graph(store, "heavy", Task.TENSORS, SIGNATURE, heavy(tmp_path / "1.onnx", 1), label="champion")
    return start_gateway(store, "--allow-changes", "--set", "store.poll_s=0.05", "--set", "store.keep_warm_s=0")


@contextmanager
def small_traffic(gateway: Gateway) -> Iterator[list[Exception]]:
    """Keep asking for a price, which is there all the time; yield the failures."""
    over, failures = threading.Event(), list[Exception]()

    def ask() -> None:
        with turnout.Client(gateway.address, retries=0, timeout=30) as client:
            while not over.wait(0.005):
                try:
                    client.predict_price("price", {"carat": 1}, version=1)
                except Exception as error:
                    failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield failures
    finally:
        over.set()
        asking.join()


def use(gateway: Gateway, version: str = "") -> str:
    """Ask `heavy` for something; return the version that answered."""
    x = oip.ModelInferRequest.InferInputTensor(name="x", datatype="INT64", shape=[3])
    raw = np.arange(3).tobytes()
    with connected(gateway.address) as channel:
        answer = infer(channel, model_name="heavy", model_version=version, inputs=[x], raw_input_contents=[raw])
    return answer.model_version


def within(before: Usage, after: Usage, growth_mib: float) -> bool:
    """Say whether nothing has grown beyond its bound.

    Files and threads: none but a connection, and a worker that had not been needed yet, may be new.
    """
    return (
        after.rss_mib - before.rss_mib < growth_mib
        and after.files <= before.files + 2
        and after.threads <= before.threads + 2
    )


def settles(gateway: Gateway, before: Usage, growth_mib: float = GROWTH_MIB) -> None:
    """Wait until the gateway holds no more than before, within the bounds; fail with what it holds."""
    try:
        eventually(lambda: within(before, usage(gateway), growth_mib), within_s=10.0)
    except AssertionError:
        pytest.fail(f"before: {before}, after: {usage(gateway)}")


@pytest.mark.parametrize(("rows", "times"), [(SMALL, 100), (LARGE, 12)])
def test_a_model_that_is_loaded_again_and_again_leaves_nothing_behind(
    gateway: Gateway, store: Path, tmp_path: Path, rows: int, times: int
) -> None:
    publish_graph(store, "heavy", Task.TENSORS, SIGNATURE, heavy(tmp_path / "2.onnx", 2, rows), label="champion")
    eventually(lambda: use(gateway) == "2")
    eventually(lambda: events(gateway, "version unloaded", model="heavy", version=1))
    load = oip.RepositoryModelLoadRequest(model_name="heavy")
    unload = oip.RepositoryModelUnloadRequest(model_name="heavy")
    with connected(gateway.address) as channel, small_traffic(gateway) as failures:

        def again(times: int) -> None:
            for _ in range(times):
                administer(channel, "RepositoryModelUnload", unload, oip.RepositoryModelUnloadResponse)
                administer(channel, "RepositoryModelLoad", load, oip.RepositoryModelLoadResponse)
                assert use(gateway) == "2"

        again(5)  # pools fill up, once
        before = usage(gateway)
        again(times)
        settles(gateway, before)
        assert failures == []
    assert len(events(gateway, "version unloaded", model="heavy", version=2)) == times + 5
    assert "Traceback" not in gateway.log()


def test_fifty_versions_in_a_row_leave_nothing_behind(gateway: Gateway, store: Path, tmp_path: Path) -> None:
    labels = DirectoryStore(store)

    def again(versions: range) -> None:
        for version in versions:
            file = heavy(tmp_path / "next.onnx", version)
            assert publish_graph(store, "heavy", Task.TENSORS, SIGNATURE, file) == version
            labels.set_label("heavy", "champion", version)
            eventually(lambda version=version: use(gateway, "champion") == str(version))
            shutil.rmtree(store / f"models/heavy/{version - 1}")

    with small_traffic(gateway) as failures:
        again(range(2, 8))
        before = usage(gateway)
        again(range(8, 58))
        settles(gateway, before)
        assert failures == []
    assert "Traceback" not in gateway.log()


def test_versions_that_fail_leave_nothing_behind(gateway: Gateway, store: Path, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(heavy(tmp_path / "whole.onnx", 0, LARGE).read_bytes()[: 2**22])

    def again(versions: range) -> None:
        for version in versions:
            assert publish_graph(store, "heavy", Task.TENSORS, SIGNATURE, garbage) == version
            eventually(lambda version=version: events(gateway, "version cannot be served", version=version))
            shutil.rmtree(store / f"models/heavy/{version}")

    again(range(2, 8))
    before = usage(gateway)
    again(range(8, 38))
    settles(gateway, before)
    assert use(gateway) == "1"


def test_large_requests_leave_nothing_behind(gateway: Gateway) -> None:
    raw = np.ones((1, 2**20), np.float32).tobytes()
    x = oip.ModelInferRequest.InferInputTensor(name="in_fp32", datatype="FP32", shape=[1, 2**20])
    with connected(gateway.address) as channel:

        def again(times: int) -> None:
            for _ in range(times):
                answer = infer(channel, model_name="echo-fp32", inputs=[x], raw_input_contents=[raw])
                assert answer.raw_output_contents[0] == raw

        again(20)
        before = usage(gateway)
        again(100)
        settles(gateway, before, MESSAGES_GROWTH_MIB)
