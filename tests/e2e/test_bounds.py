"""The configured limits are the process's, whoever answers: the engine, or Python what the engine leaves to it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.e2e.conftest import DATA_PLANE, Gateway, StartGateway
from tests.e2e.probes import PATIENCE_S, connected, eventually, metrics, unary
from turnout import v1
from turnout_server.rpc.stubs import open_inference_pb2 as oip
from turnout_server.scheduling.copies import MOST_WAITING

pytestmark = pytest.mark.skipif(
    DATA_PLANE not in ("", "engine") or importlib.util.find_spec("turnout_engine") is None,
    reason="the engine does not serve here",
)

INFER = "inference.GRPCInferenceService/ModelInfer"
DEAR = ("--set", "scheduling.inline_below_us=2000", "--set", "scheduling.workers=1")
"""The model `slow` runs in threads, once at a time; what takes less than 2 ms does not."""
ENGINE, PYTHON = "engine", "python"


def slow(by: str, rounds: int = 10**9) -> bytes:
    """Return a request of `slow` that the engine answers, or Python as it answers typed. So many rounds take days."""
    asked = oip.ModelInferRequest(model_name="slow")
    tensor = asked.inputs.add(name="rounds", datatype="INT64", shape=[1])
    if by == ENGINE:
        asked.raw_input_contents.append(np.array([rounds], np.int64).tobytes())
    else:
        tensor.contents.int64_contents.append(rounds)
        asked.parameters["binary_data_output"].bool_param = False
    return asked.SerializeToString()


def begin(channel: grpc.Channel, by: str) -> grpc.Future:
    """Ask for what does not end."""
    return unary(channel, INFER).future(slow(by), timeout=10 * PATIENCE_S)


def refusal(channel: grpc.Channel, by: str) -> str:
    """Ask for one more, and return why not."""
    with pytest.raises(grpc.RpcError) as refused:
        unary(channel, INFER)(slow(by), timeout=PATIENCE_S)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, refused.value.details()
    return str(refused.value.details())


def declined(gateway: Gateway) -> float:
    return sum(metrics(gateway, "turnout_engine_declined_total").values())


def waiting(gateway: Gateway) -> float:
    return metrics(gateway, "turnout_queue_rows")[("model", "slow"), ("version", "1")]


def in_flight(gateway: Gateway) -> float:
    return sum(metrics(gateway, "turnout_requests_in_flight").values())


@pytest.mark.parametrize(("runs", "waits"), [(ENGINE, PYTHON), (PYTHON, ENGINE)])
def test_a_version_has_one_queue_and_one_run_whoever_has_its_requests(
    tiny_store: Path, start_gateway: StartGateway, runs: str, waits: str
) -> None:
    """That two rows wait shows that no second run has begun beside the first, which is another plane's."""
    gateway = start_gateway(tiny_store, *DEAR, "--set", "limits.queue_rows=2")
    with connected(gateway.address) as channel:
        calls = [begin(channel, runs)]
        eventually(lambda: in_flight(gateway) == 1)
        calls += [begin(channel, waits) for _ in range(2)]
        eventually(lambda: waiting(gateway) == 2)
        left = declined(gateway)
        assert left == (2 if waits == PYTHON else 1)
        assert refusal(channel, ENGINE) == "the queue of slow version 1 is full"
        assert declined(gateway) == left
        assert refusal(channel, PYTHON) == "the queue of slow version 1 is full"
        assert (waiting(gateway), in_flight(gateway), declined(gateway)) == (2, 3, left + 1)
        assert not any(call.done() for call in calls)
        calls[1].cancel()
        eventually(lambda: waiting(gateway) == 1)
        calls.append(begin(channel, runs))
        eventually(lambda: waiting(gateway) == 2)
        for call in calls:
            call.cancel()


@pytest.mark.parametrize(("runs", "waits"), [(ENGINE, PYTHON), (PYTHON, ENGINE)])
def test_when_a_run_ends_who_waits_in_the_other_plane_has_its_turn(
    tiny_store: Path, start_gateway: StartGateway, runs: str, waits: str
) -> None:
    gateway = start_gateway(tiny_store, *DEAR)
    with connected(gateway.address) as channel:
        infer = unary(channel, INFER)
        first = infer.future(slow(runs, 8000), timeout=10 * PATIENCE_S)
        eventually(lambda: in_flight(gateway) == 1)
        second = infer.future(slow(waits, 1), timeout=10 * PATIENCE_S)
        eventually(lambda: in_flight(gateway) == 2)
        assert not second.done(), "there is one thread for both"
        for call in (first, second):
            assert oip.ModelInferResponse.FromString(call.result()).model_name == "slow"


@pytest.mark.parametrize(("two", "one"), [(ENGINE, PYTHON), (PYTHON, ENGINE)])
def test_calls_in_progress_are_counted_once(tiny_store: Path, start_gateway: StartGateway, two: str, one: str) -> None:
    gateway = start_gateway(tiny_store, *DEAR, "--set", "limits.concurrent_calls=3")
    with connected(gateway.address) as channel:
        calls = [begin(channel, by) for by in (two, two, one)]
        eventually(lambda: in_flight(gateway) == 3)
        for by in (ENGINE, PYTHON):
            assert refusal(channel, by) == "3 calls are in progress already"
        assert in_flight(gateway) == 3
        calls.pop().cancel()
        eventually(lambda: in_flight(gateway) == 2)
        calls.append(begin(channel, two))
        eventually(lambda: in_flight(gateway) == 3)
        for call in calls:
            call.cancel()


MIRRORED = """\
routes:
  ranked:
    task: ranking
    salt: s
    targets: [{name: only, model: ranking, version: 1, weight: 1}]
    mirrors: [{model: ranking, version: 2, fraction: 1}]
"""


def test_copies_are_shed_while_requests_wait_in_the_engine(store: Path, start_gateway: StartGateway) -> None:
    """Nothing waits in Python; as soon as nothing waits in the engine either, copies are sent."""
    (store / "routes.yaml").write_text(MIRRORED)
    gateway = start_gateway(store, *DEAR)

    def copies(outcome: str) -> float:
        found = metrics(gateway, "turnout_mirrors_total").items()
        return sum(count for labels, count in found if dict(labels)["outcome"] == outcome)

    ranks = v1.RankRequest(candidate_ids=["a", "b"])
    ranks.selector.name = "ranked"
    ranks.candidate_features.add(name="price").floats.values.extend([1.0, 2.0])
    with connected(gateway.address) as channel, connected(gateway.address) as other:
        calls = [begin(channel, ENGINE) for _ in range(MOST_WAITING + 1)]
        eventually(lambda: waiting(gateway) == MOST_WAITING)
        rank = unary(other, "turnout.v1.RankingService/Rank")
        for _ in range(5):
            rank(ranks.SerializeToString(), timeout=PATIENCE_S)
        eventually(lambda: copies("dropped") == 5)
        assert (copies("sent"), declined(gateway)) == (0, 0)
        for call in calls:
            call.cancel()
        eventually(lambda: waiting(gateway) == 0)

        def sent() -> float:
            rank(ranks.SerializeToString(), timeout=PATIENCE_S)
            return copies("sent")

        eventually(sent)
