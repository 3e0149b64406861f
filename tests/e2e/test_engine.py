"""What the engine answers by itself, and what it leaves to Python: both would be answered alike."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.e2e.conftest import DATA_PLANE, Gateway, StartGateway
from tests.e2e.probes import PATIENCE_S, administer, connected, eventually, metrics, stream, unary
from tests.rpc.inference import DTYPES, FIELDS, raw_bytes, request_of, response_arrays, texts
from tests.transport.socket_wire import SocketWire, prefixed
from turnout import v1
from turnout_server.rpc.stubs import open_inference_pb2 as oip
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array

pytestmark = pytest.mark.skipif(
    DATA_PLANE not in ("", "engine") or importlib.util.find_spec("turnout_engine") is None,
    reason="the engine does not serve here",
)

INFER = "inference.GRPCInferenceService/ModelInfer"
STREAM = "inference.GRPCInferenceService/ModelStreamInfer"


def echoed(datatype: str) -> Array:
    if datatype == "BYTES":
        return texts(["", "a\0b", "\u6f22\u5b57", "x" * 300], (2, 2))
    return np.array([[0, 1], [1, 0]], NUMPY_DTYPES[datatype])


def request(datatype: str, *, typed: bool = False, output: str = "") -> oip.ModelInferRequest:
    name = f"in_{datatype.lower()}"
    asked = request_of({name: echoed(datatype)}, {name: datatype}, typed=typed, model_name=f"echo-{datatype.lower()}")
    asked.parameters["binary_data_output"].bool_param = True
    if output:
        asked.outputs.add(name=output)
    return asked


def declined(gateway: Gateway) -> float:
    return sum(metrics(gateway, "turnout_engine_declined_total").values())


def test_tensors_of_every_form_never_come_to_python(tiny_store: Path, start_gateway: StartGateway) -> None:
    """That others are counted shows that the engine was asked at all."""
    gateway = start_gateway(tiny_store)
    with connected(gateway.address) as channel:
        infer = unary(channel, INFER)
        for datatype in DTYPES:
            for typed in (False, True) if datatype in FIELDS else (False,):
                raw = infer(request(datatype, typed=typed).SerializeToString(), timeout=PATIENCE_S)
                answer = oip.ModelInferResponse.FromString(raw)
                assert list(answer.raw_output_contents) == [raw_bytes(echoed(datatype))], datatype
                (array,) = response_arrays(answer).values()
                assert array.tolist() == echoed(datatype).tolist()
        assert declined(gateway) == 0
        with pytest.raises(grpc.RpcError, match="nonsense"):
            infer(request("FP32", output="nonsense").SerializeToString(), timeout=PATIENCE_S)
        assert declined(gateway) == 1
        asked = request("FP32", typed=True)
        asked.parameters["binary_data_output"].bool_param = False
        answer = oip.ModelInferResponse.FromString(infer(asked.SerializeToString(), timeout=PATIENCE_S))
        assert (list(answer.outputs[0].contents.fp32_contents), declined(gateway)) == ([0, 1, 1, 0], 2)


def test_streams_messages_are_answered_in_their_order_by_whoever_can(
    tiny_store: Path, start_gateway: StartGateway
) -> None:
    """Every third message is Python's to refuse, and the slow ones are overtaken by none."""
    gateway = start_gateway(tiny_store)
    messages = []
    for number in range(60):
        asked = request("FP32", output="nonsense" if number % 3 == 2 else "")
        if number % 3 == 0:
            asked = oip.ModelInferRequest.FromString(rounds(300))
        asked.id = f"message-{number}"
        asked.parameters["triton_enable_empty_final_response"].bool_param = number % 2 == 0
        messages.append(asked.SerializeToString())
    with connected(gateway.address) as channel:
        answers = [
            oip.ModelStreamInferResponse.FromString(raw)
            for raw in stream(channel, STREAM)(iter(messages), timeout=PATIENCE_S)
        ]
    assert [answer.infer_response.id for answer in answers] == [f"message-{number}" for number in range(60)]
    for number, answer in enumerate(answers):
        response = answer.infer_response
        refused = number % 3 == 2
        assert answer.error_message.startswith("OUTPUT_UNKNOWN: ") == refused
        assert bool(response.raw_output_contents) != refused
        assert response.parameters["triton_final_response"].bool_param == (number % 2 == 0)
    assert declined(gateway) == 20
    counted = {dict(labels)["code"]: count for labels, count in metrics(gateway, "turnout_rpc_messages_total").items()}
    assert counted == {"OK": 40, "INVALID_ARGUMENT": 20}
    calls = metrics(gateway, "turnout_rpc_duration_seconds_count")
    assert calls[("code", "OK"), ("method", STREAM)] == 1


def test_a_stream_whose_errors_are_to_end_it_is_pythons(tiny_store: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway(tiny_store)
    messages = [request("FP32", output=output).SerializeToString() for output in ("", "", "nonsense", "")]
    with connected(gateway.address) as channel:
        answers = stream(channel, STREAM)(iter(messages), timeout=PATIENCE_S, metadata=[("triton_grpc_error", "True")])
        assert [next(answers), next(answers)]
        with pytest.raises(grpc.RpcError, match="nonsense"):
            next(answers)


def test_a_stream_that_half_closes_gets_what_it_asked_for_while_the_gateway_ends(
    tiny_store: Path, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(tiny_store)
    with connected(gateway.address) as channel:
        answers = stream(channel, STREAM)(iter([rounds(1_000)] * 3), timeout=PATIENCE_S)
        eventually(lambda: sum(metrics(gateway, "turnout_requests_in_flight").values()) > 0)
        gateway.process.terminate()
        assert len(list(answers)) == 3
    assert answers.code() is grpc.StatusCode.OK


async def test_streams_whose_answers_nobody_reads_take_no_more_messages(
    tiny_store: Path, start_gateway: StartGateway
) -> None:
    """They began before there were any answers, so that nothing could be refused then."""
    gateway = start_gateway(tiny_store)
    size = 15 * 1024 * 1024
    asked = oip.ModelInferRequest(model_name="echo-fp32")
    asked.inputs.add(name="in_fp32", datatype="FP32", shape=[1, size // 4])
    asked.raw_input_contents.append(bytes(size))
    message = prefixed(asked.SerializeToString())
    wire = await SocketWire.connect(int(gateway.address.rpartition(":")[2]), window=10, reads=False)
    streams = [wire.headers("ModelStreamInfer", service="inference.GRPCInferenceService") for _ in range(12)]
    for stream_id in streams:
        await wire.upload(stream_id, message, end=False)
        await wire.until(lambda stream_id=stream_id: wire.answers[stream_id].headers)
    codes = [wire.answers[stream_id].status for stream_id in streams]
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    # 128 MiB are nine of them.
    assert codes == [None] * 9 + [exhausted] * 3
    await wire.close()


def rounds(count: int) -> bytes:
    """Return a request of the model `slow`, whose runs take as long as the value of its input says."""
    asked = oip.ModelInferRequest(model_name="slow")
    asked.inputs.add(name="rounds", datatype="INT64", shape=[1])
    asked.raw_input_contents.append(np.array([count], np.int64).tobytes())
    return asked.SerializeToString()


def test_a_value_that_makes_a_quick_model_slow_keeps_nobody_from_being_served(
    tiny_store: Path, start_gateway: StartGateway
) -> None:
    """What should run for less than ten seconds begins where calls are carried, so the first ones do."""
    everything_here = ("--set", "scheduling.inline_below_us=10000000")
    gateway = start_gateway(tiny_store, *everything_here)
    with connected(gateway.address) as channel:
        infer = unary(channel, INFER)
        answer = oip.ModelInferResponse.FromString(infer(rounds(500), timeout=PATIENCE_S))
        assert np.frombuffer(answer.raw_output_contents[0], np.int64) == [500], "begun anew, and right"
        runs = metrics(gateway, "turnout_run_duration_seconds_count")
        assert runs[("model", "slow"), ("version", "1")] == 1
    gateway = start_gateway(tiny_store, *everything_here)
    with connected(gateway.address) as channel:  # one connection, so one reactor
        endless = [channel.unary_unary(f"/{INFER}").future(rounds(10**9), timeout=PATIENCE_S) for _ in range(8)]
        for _ in range(50):
            unary(channel, INFER)(request("FP32").SerializeToString(), timeout=PATIENCE_S)
        assert not any(call.done() for call in endless)
        for call in endless:
            call.cancel()
    assert declined(gateway) == 0


MIRRORED = """\
routes:
  copied:
    task: tensors
    salt: s
    targets: [{name: only, model: echo-fp32, version: 1, weight: 1}]
    mirrors:
      - {model: echo, version: 1, fraction: 1}
      - {model: echo-fp32, version: 1, fraction: 1}
      - {model: slow, version: 1, fraction: 0}
  ranked:
    task: ranking
    salt: s
    targets: [{name: only, model: ranking, version: 1, weight: 1}]
    mirrors: [{model: ranking, version: 2, fraction: 1}]
"""


def test_a_route_with_mirrors_is_answered_by_the_engine_too(store: Path, start_gateway: StartGateway) -> None:
    """`echo` has more inputs, so that its copies fail; the version that answered itself needs none."""
    (store / "routes.yaml").write_text(MIRRORED)
    gateway = start_gateway(store)
    asked = request("FP32", typed=True)
    asked.model_name = "copied"
    with connected(gateway.address) as channel:
        infer = unary(channel, INFER)
        for _ in range(10):
            infer(asked.SerializeToString(), timeout=PATIENCE_S)
        ranks = v1.RankRequest(candidate_ids=["a", "b"])
        ranks.selector.name = "ranked"
        ranks.candidate_features.add(name="price").floats.values.extend([1.0, 2.0])
        rank = unary(channel, "turnout.v1.RankingService/Rank")
        for _ in range(10):
            rank(ranks.SerializeToString(), timeout=PATIENCE_S)
    eventually(lambda: sum(metrics(gateway, "turnout_mirrors_total").values()) == 30)
    found = {
        (dict(labels)["model"], dict(labels)["outcome"]): count
        for labels, count in metrics(gateway, "turnout_mirrors_total").items()
    }
    # A copy may be dropped where the machine is busy.
    assert found.pop(("ranking", "sent")) + found.pop(("ranking", "dropped"), 0) == 10
    assert found == {("echo", "failed"): 10, ("echo-fp32", "same"): 10}
    assert declined(gateway) == 0


def test_a_run_that_nobody_waits_for_ends_and_its_version_can_go(store: Path, start_gateway: StartGateway) -> None:
    """A billion rounds would take days: that the version is unloaded shows that they are not run."""
    gateway = start_gateway(store, "--allow-changes", "--set", "scheduling.inline_below_us=0")
    with connected(gateway.address) as channel:
        infer = unary(channel, INFER)
        with pytest.raises(grpc.RpcError) as refused:
            infer(rounds(10**9), timeout=0.5)
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert declined(gateway) == 0
        unload = unary(channel, "inference.GRPCInferenceService/RepositoryModelUnload")
        unload(oip.RepositoryModelUnloadRequest(model_name="slow").SerializeToString(), timeout=PATIENCE_S)
    runs = metrics(gateway, "turnout_run_duration_seconds_count")
    assert runs[("model", "slow"), ("version", "1")] == 1, "it was counted before the version went"


async def test_calls_that_come_at_once_share_a_run(tiny_store: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway(tiny_store)
    message = prefixed(request("FP32").SerializeToString())
    wire = await SocketWire.connect(int(gateway.address.rpartition(":")[2]))
    with wire.held():
        streams = [wire.headers("ModelInfer", service="inference.GRPCInferenceService") for _ in range(16)]
        for stream_id in streams:
            wire.send(stream_id, message, end=True)
    answers = [await wire.ended(stream_id) for stream_id in streams]
    assert [answer.status for answer in answers] == [0] * 16
    await wire.close()
    with connected(gateway.address) as channel:
        asked = oip.ModelStatisticsRequest(name="echo-fp32", version="1")
        (found,) = administer(channel, "ModelStatistics", asked, oip.ModelStatisticsResponse).model_stats
    assert found.inference_count == 16 * 2
    assert found.execution_count <= 4, "one, but for where the sending is cut"


TYPED = (
    (
        "turnout.v1.PricingService/PredictPrice",
        v1.PredictPriceRequest(
            selector=v1.Selector(name="price"),
            features=[v1.FeatureColumn(name="cut", strings=v1.StringValues(values=["Ideal"]))],
            feature_matrix=v1.FeatureMatrix(names=["carat"], values=[1, 2]),
        ),
    ),
    (
        "turnout.v1.RankingService/Rank",
        v1.RankRequest(
            selector=v1.Selector(name="ranking"),
            candidate_ids=["a", "b"],
            context_features=[v1.FeatureColumn(name="hour", integers=v1.IntegerValues(values=[7]))],
            candidate_matrix=v1.FeatureMatrix(names=["price"], values=[1, 2]),
        ),
    ),
    (
        "turnout.v1.RecommendationService/Recommend",
        v1.RecommendRequest(selector=v1.Selector(name="recommendation"), history_item_ids=["101"]),
    ),
)


def test_typed_requests_never_come_to_python(tiny_store: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway(tiny_store)
    with connected(gateway.address) as channel:
        for asked, (method, request) in enumerate(TYPED):
            raw = unary(channel, method)(request.SerializeToString(), timeout=PATIENCE_S)
            assert b"-" in raw, "the server's own request id"
            assert declined(gateway) == asked
            other: Any = type(request)()
            other.CopyFrom(request)
            other.selector.name = "echo-fp32"
            with pytest.raises(grpc.RpcError, match="echo-fp32"):
                unary(channel, method)(other.SerializeToString(), timeout=PATIENCE_S)
            assert declined(gateway) == asked + 1
    calls = metrics(gateway, "turnout_rpc_duration_seconds_count")
    for method, _ in TYPED:
        for code in ("OK", "INVALID_ARGUMENT"):
            assert calls[("code", code), ("method", method)] == 1
