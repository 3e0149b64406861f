"""A run whose cost is a value holds up nobody, ends, and has its version withdrawn when that repeats."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import numpy as np
import pytest

import turnout
from tests.e2e.conftest import Gateway, StartGateway
from tests.e2e.probes import PATIENCE_S, connected, events, eventually, fp32, index, infer, metrics, unary
from turnout_server.rpc.stubs import open_inference_pb2 as oip

INFER = "inference.GRPCInferenceService/ModelInfer"
FOR_EVER = 10**9
INLINE = ("--set", "scheduling.inline_below_us=1000000000")
"""Whatever could run on the event loop or a reactor, does."""
THREAD = ("--set", "scheduling.inline_below_us=0", "--set", "scheduling.workers=1")
"""Whatever runs, does so in a thread, once at a time."""
ROUTE = """
routes:
  falling:
    task: tensors
    salt: s
    targets:
      - {name: slow, model: slow, version: 1, weight: 1}
      - {name: other, model: echo-int64, version: 1, weight: 0}
    fallback: other
"""


def rounds(count: int, name: str = "slow") -> oip.ModelInferRequest:
    """Return a request of the model `slow`, whose loop has so many turns."""
    request = oip.ModelInferRequest(model_name=name)
    request.inputs.add(name="rounds", datatype="INT64", shape=[1])
    request.raw_input_contents.append(np.array([count], np.int64).tobytes())
    return request


def refused(channel: grpc.Channel, request: oip.ModelInferRequest) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.RpcError) as found:
        unary(channel, INFER)(request.SerializeToString(), timeout=PATIENCE_S)
    reason = turnout.errors.status_details(found.value.trailing_metadata()).reason
    return found.value.code(), reason, str(found.value.details())


def timed_out(gateway: Gateway) -> float:
    return metrics(gateway, "turnout_runs_timed_out_total").get((("model", "slow"), ("version", "1")), 0)


def test_a_loop_that_does_not_end_stops_nobody_not_even_the_gateways_end(
    tiny_store: Path, start_gateway: StartGateway
) -> None:
    """All its runs before were cheap, and everything cheap runs inline here."""
    gateway = start_gateway(tiny_store, *INLINE)
    with connected(gateway.address) as channel, connected(gateway.address) as other:
        call = unary(channel, INFER)
        for _ in range(20):
            call(rounds(1).SerializeToString(), timeout=PATIENCE_S)
        endless = call.future(rounds(FOR_EVER).SerializeToString(), timeout=10 * PATIENCE_S)
        eventually(lambda: sum(metrics(gateway, "turnout_requests_in_flight").values()) == 1)
        assert unary(other, INFER)(fp32(1.0).SerializeToString(), timeout=PATIENCE_S)
        assert not endless.done()
        endless.cancel()


@pytest.mark.parametrize("leaves", [grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED])
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_a_run_that_nobody_waits_for_any_more_gives_its_thread_to_the_next(
    tiny_store: Path, start_gateway: StartGateway, raw: bool, leaves: grpc.StatusCode
) -> None:
    """There is one thread; an answer as numbers is Python's to make, beside the engine too."""
    gateway = start_gateway(tiny_store, *THREAD, "--set", "limits.run_timeout_s=3600")
    endless, ends = rounds(FOR_EVER), rounds(1)
    for request in (endless, ends):
        if not raw:
            request.parameters["binary_data_output"].bool_param = False
    with connected(gateway.address) as channel:
        timeout = 2.0 if leaves is grpc.StatusCode.DEADLINE_EXCEEDED else 10 * PATIENCE_S
        call = unary(channel, INFER).future(endless.SerializeToString(), timeout=timeout)
        if leaves is grpc.StatusCode.CANCELLED:
            eventually(lambda: sum(metrics(gateway, "turnout_requests_in_flight").values()) == 1)
            call.cancel()
        eventually(call.done)
        answer = unary(channel, INFER)(ends.SerializeToString(), timeout=PATIENCE_S)
        assert oip.ModelInferResponse.FromString(answer).model_name == "slow"
    assert timed_out(gateway) == 0


def test_a_run_that_takes_too_long_is_ended_and_the_third_in_a_row_has_its_version_withdrawn(
    store: Path, start_gateway: StartGateway
) -> None:
    (store / "routes.yaml").write_text(ROUTE)
    gateway = start_gateway(store, "--set", "limits.run_timeout_s=0.2")
    with connected(gateway.address) as channel:
        for count in (1, 2, 3, 4, 5):
            code, reason, text = refused(channel, rounds(FOR_EVER))
            assert (code, reason) == (grpc.StatusCode.INTERNAL, "RUN_TIMED_OUT")
            assert text == "slow version 1 ran for longer than it may (run_timeout_s), and was ended"
            eventually(lambda count=count: timed_out(gateway) == count)
            if count == 2:
                assert infer(channel, **_fields(rounds(1))).model_name == "slow"
        state, why = eventually(lambda: (found := index(channel)[("slow", "1")])[0] == "UNAVAILABLE" and found)
        assert "3 runs took longer than 0.2 s (run_timeout_s)" in why
        code, reason, text = refused(channel, rounds(1))
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "VERSION_UNAVAILABLE")
        assert state
    assert len(events(gateway, "a run took too long and was ended", model="slow")) == 1
    eventually(lambda: events(gateway, "version cannot be served", model="slow"))


def test_a_route_falls_back_once_its_version_is_withdrawn(store: Path, start_gateway: StartGateway) -> None:
    (store / "routes.yaml").write_text(ROUTE)
    gateway = start_gateway(store, "--set", "limits.run_timeout_s=0.2")
    asks = rounds(FOR_EVER, "falling")
    asks.parameters["unit_id"].string_param = "u"
    with connected(gateway.address) as channel:
        for _ in range(3):
            assert refused(channel, asks)[1] == "RUN_TIMED_OUT"
        falls = oip.ModelInferRequest(model_name="falling", parameters=asks.parameters)
        falls.inputs.add(name="in_int64", datatype="INT64", shape=[1, 1])
        falls.raw_input_contents.append(bytes(8))
        eventually(lambda: index(channel)[("slow", "1")][0] == "UNAVAILABLE")
        answer = infer(channel, **_fields(falls))
    assert (answer.model_name, answer.parameters["turnout_reason"].string_param) == ("echo-int64", "FALLBACK")


def test_a_manifest_may_give_its_runs_less_time(store: Path, start_gateway: StartGateway) -> None:
    manifest = store / "models" / "slow" / "1" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"runtime": {"run_timeout_s": 0.2}}))
    gateway = start_gateway(store)
    with connected(gateway.address) as channel:
        assert refused(channel, rounds(FOR_EVER))[1] == "RUN_TIMED_OUT"


def _fields(request: oip.ModelInferRequest) -> dict[str, object]:
    return {field.name: value for field, value in request.ListFields()}
