"""What ModelStatistics and /metrics say is exact, adds up, and is the same."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.e2e.conftest import Gateway, StartGateway
from tests.e2e.probes import PATIENCE_S, administer, connected, metrics, unary
from turnout_server.rpc.stubs import open_inference_pb2 as oip

MODEL = "echo-fp32"
REQUESTS = 800


def request(rows: int, width: int, wrong: bool) -> bytes:
    """Return a request; a *wrong* one asks for an output that the model does not have."""
    asked = oip.ModelInferRequest(model_name=MODEL)
    asked.inputs.add(name="in_fp32", datatype="FP32", shape=[rows, width])
    asked.raw_input_contents.append(np.arange(rows * width, dtype=np.float32).tobytes())
    if wrong:
        asked.outputs.add(name="nonsense")
    return asked.SerializeToString()


def statistics(channel: grpc.Channel) -> oip.ModelStatistics:
    asked = oip.ModelStatisticsRequest(name=MODEL, version="1")
    (found,) = administer(channel, "ModelStatistics", asked, oip.ModelStatisticsResponse).model_stats
    assert isinstance(found, oip.ModelStatistics)
    return found


def metric(gateway: Gateway, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples of the model."""
    return sum(value for found, value in metrics(gateway, name).items() if labels.items() <= set(found))


@pytest.mark.parametrize("inline_below_us", [0, 1_000_000], ids=["threaded", "inline"])
def test_every_request_and_every_run_is_counted_once(
    tiny_store: Path, start_gateway: StartGateway, inline_below_us: int
) -> None:
    """Sixteen callers at once, requests of different sizes that share batches or cannot, some of them wrong."""
    settings = (f"scheduling.inline_below_us={inline_below_us}", "scheduling.max_batch_delay_us=2000")
    gateway = start_gateway(tiny_store, *(part for setting in settings for part in ("--set", setting)))
    draw = random.Random(5)
    sizes = [(draw.randint(0, 5), draw.choice([2, 3]), draw.random() < 0.1) for _ in range(REQUESTS)]
    rows: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    with connected(gateway.address) as channel:
        call = unary(channel, "inference.GRPCInferenceService/ModelInfer")

        def ask(size: tuple[int, int, bool]) -> tuple[str, int]:
            try:
                call(request(*size), timeout=PATIENCE_S)
            except grpc.RpcError as error:
                return error.code().name, size[0]
            return "OK", size[0]

        with ThreadPoolExecutor(16) as callers:
            for code, count in callers.map(ask, sizes):
                codes[code] += 1
                rows[code] += count
        found = statistics(channel)
    assert codes == {"OK": sum(not wrong for *_, wrong in sizes), "INVALID_ARGUMENT": sum(wrong for *_, wrong in sizes)}
    of_requests = found.inference_stats
    assert of_requests.success.count == codes["OK"]
    assert of_requests.fail.count == codes["INVALID_ARGUMENT"]
    parts = (of_requests.queue, of_requests.compute_input, of_requests.compute_infer, of_requests.compute_output)
    assert [part.count for part in parts] == [codes["OK"]] * 4
    assert sum(part.ns for part in parts) <= of_requests.success.ns
    assert found.inference_count == rows["OK"]

    batches = {batch.batch_size: batch for batch in found.batch_stats}
    assert sum(batch.compute_infer.count for batch in batches.values()) == found.execution_count < codes["OK"]
    assert sum(size * batch.compute_infer.count for size, batch in batches.items()) == found.inference_count
    infer_ns = sum(batch.compute_infer.ns for batch in batches.values())
    assert 0 < infer_ns < of_requests.compute_infer.ns, "a run counts for each of its requests"

    named = {"model": MODEL, "version": "1"}
    assert metric(gateway, "turnout_requests_total", code="OK", **named) == codes["OK"]
    assert metric(gateway, "turnout_requests_total", **named) == REQUESTS
    assert metric(gateway, "turnout_request_duration_seconds_count", **named) == REQUESTS
    assert metric(gateway, "turnout_queue_duration_seconds_count", **named) == codes["OK"]
    assert metric(gateway, "turnout_queue_duration_seconds_sum", **named) == pytest.approx(of_requests.queue.ns / 1e9)
    assert metric(gateway, "turnout_run_duration_seconds_count", **named) == found.execution_count
    assert metric(gateway, "turnout_run_duration_seconds_sum", **named) == pytest.approx(infer_ns / 1e9)
    assert metric(gateway, "turnout_batch_rows_count", **named) == found.execution_count
    assert metric(gateway, "turnout_batch_rows_sum", **named) == found.inference_count
    assert metric(gateway, "turnout_queue_rows", **named) == 0
    assert metric(gateway, "turnout_event_loop_lag_seconds_count") > 0
