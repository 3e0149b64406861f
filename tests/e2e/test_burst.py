"""Many calls at once to a gateway that had nothing to do."""

from __future__ import annotations

import collections
import contextlib

import grpc
import numpy as np
import pytest

from tests.e2e.conftest import Gateway
from tests.e2e.probes import PATIENCE_S, connected, fp32, unary
from turnout_server.rpc.stubs import open_inference_pb2 as oip

CALLS = 1_000


def request(number: int, form: str) -> bytes:
    asked = fp32(float(number))
    if form == "raw":
        asked.inputs[0].ClearField("contents")
        asked.raw_input_contents.append(np.float32(number).tobytes())
    return asked.SerializeToString()


@pytest.mark.parametrize("form", ["raw", "typed"])
@pytest.mark.parametrize("connections", [1, 8])
def test_a_thousand_calls_at_once_on_an_idle_quick_model_are_all_answered(
    gateway: Gateway, connections: int, form: str
) -> None:
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(connected(gateway.address)) for _ in range(connections)]
        methods = [unary(channel, "inference.GRPCInferenceService/ModelInfer") for channel in channels]
        for method in methods:
            method(fp32(0.0).SerializeToString(), timeout=PATIENCE_S, wait_for_ready=True)
        for _ in range(2):
            asked = [request(number, form) for number in range(CALLS)]
            calls = [
                methods[number % connections].future(message, timeout=PATIENCE_S)
                for number, message in enumerate(asked)
            ]
            assert collections.Counter(call.code() for call in calls) == {grpc.StatusCode.OK: CALLS}
            for number in (0, CALLS - 1):
                answer = oip.ModelInferResponse.FromString(calls[number].result())
                assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [number]
