"""What one request may bring is bounded on every way in, before it costs anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

import turnout
from tests.e2e.conftest import Gateway, StartGateway
from tests.e2e.probes import PATIENCE_S, connected, eventually, metrics, serving, stream, unary, usage
from turnout import v1
from turnout_server.rpc.stubs import open_inference_pb2 as oip

INFER = "inference.GRPCInferenceService/ModelInfer"
STREAM = "inference.GRPCInferenceService/ModelStreamInfer"
RANK = "turnout.v1.RankingService/Rank"
RECOMMEND = "turnout.v1.RecommendationService/Recommend"
MODEL_STORE = Path(__file__).parents[2] / "model_store"
GROWTH_MIB = 200.0
"""What a gateway may grow by. What is refused here took 4.5 GiB and ten seconds when it was run."""


def features(rows: int) -> oip.ModelInferRequest:
    """Return a request for `ranking` 1."""
    request = oip.ModelInferRequest(model_name="ranking", model_version="1")
    request.inputs.add(name="features", datatype="FP32", shape=[rows, 3])
    request.raw_input_contents.append(bytes(12 * rows))
    return request


def ranks(rows: int, name: str = "ranking") -> bytes:
    request = v1.RankRequest(candidate_ids=map(str, range(rows)), selector=v1.Selector(name=name, version="1"))
    request.candidate_features.add(name="price").floats.values.append(1.0)
    return request.SerializeToString()


def refusal(call: grpc.UnaryUnaryMultiCallable[bytes, bytes], message: bytes, **options: object) -> str:
    """Return the text of what is refused as too large."""
    with pytest.raises(grpc.RpcError) as refused:
        call(message, timeout=PATIENCE_S, **options)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, refused.value.details()
    assert turnout.errors.status_details(refused.value.trailing_metadata()).reason == "REQUEST_TOO_LARGE"
    return str(refused.value.details())


@pytest.fixture(scope="module")
def narrow(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose versions take four rows in a request, and thirty elements."""
    bounds = ("--set", "limits.max_rows=4", "--set", "limits.max_elements=30")
    with serving(tiny_store, tmp_path_factory.mktemp("narrow") / "log", *bounds) as gateway:
        yield gateway


def test_unary_requests_are(narrow: Gateway) -> None:
    with connected(narrow.address) as channel:
        infer = unary(channel, INFER)
        assert infer(features(4).SerializeToString(), timeout=PATIENCE_S)
        assert refusal(infer, features(5).SerializeToString()) == (
            "input 'features' of shape [5, 3]: found 5 rows; one request may have at most 4"
            " (signature.max_rows of its manifest, or limits.max_rows)"
        )


def test_typed_requests_are(narrow: Gateway) -> None:
    recommend = v1.RecommendRequest(history_item_ids=["7"] * 30, selector=v1.Selector(name="recommendation"))
    with connected(narrow.address) as channel:
        rank = unary(channel, RANK)
        assert rank(ranks(4), timeout=PATIENCE_S)
        assert "found 5 rows" in refusal(rank, ranks(5))
        text = refusal(unary(channel, RECOMMEND), recommend.SerializeToString())
    assert text == (
        "input 'exclude' of shape [1, 0]: found 31 elements with those before it; "
        "one request may have at most 30"
        " (signature.max_elements of its manifest, or limits.max_elements)"
    )


def test_messages_of_streams_are_and_the_stream_goes_on(narrow: Gateway) -> None:
    messages = [features(rows).SerializeToString() for rows in (5, 4)]
    with connected(narrow.address) as channel:
        answers = list(stream(channel, STREAM)(iter(messages), timeout=PATIENCE_S))
    refused, answered = map(oip.ModelStreamInferResponse.FromString, answers)
    assert "found 5 rows" in refused.error_message
    assert not answered.error_message


MIRRORED = """
routes:
  copied:
    task: ranking
    salt: s
    targets: [{name: only, model: ranking, version: 1, weight: 1}]
    mirrors: [{model: ranking, version: 2, fraction: 1}]
"""


def test_copies_are_by_the_bounds_of_the_version_that_gets_them(store: Path, start_gateway: StartGateway) -> None:
    """Published as it is, this one takes two rows; the version that answers takes more."""
    manifest = store / "models" / "ranking" / "2" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"signature": {', '"signature": {"max_rows": 2,', 1))
    (store / "routes.yaml").write_text(MIRRORED)
    gateway = start_gateway(store)

    def copies(outcome: str) -> float:
        found = metrics(gateway, "turnout_mirrors_total").items()
        return sum(count for labels, count in found if dict(labels)["outcome"] == outcome)

    request = v1.RankRequest.FromString(ranks(2))
    request.selector.CopyFrom(v1.Selector(name="copied"))
    with connected(gateway.address) as channel:
        rank = unary(channel, RANK)
        rank(request.SerializeToString(), timeout=PATIENCE_S)
        eventually(lambda: copies("sent") == 1)
        request.candidate_ids.append("3")
        rank(request.SerializeToString(), timeout=PATIENCE_S)
        eventually(lambda: copies("failed") == 1)
        assert copies("sent") == 1


def test_kilobytes_do_not_take_gigabytes(start_gateway: StartGateway) -> None:
    """Compressed, the message has less than a kilobyte; each of its rows is scored against all items."""
    rows = 40_000
    request = oip.ModelInferRequest(model_name="recommendation", model_version="2")
    for name in ("history", "exclude"):
        request.inputs.add(name=name, datatype="INT64", shape=[rows, 1])
        request.raw_input_contents.append(bytes(8 * rows))
    request.inputs.add(name="k", datatype="INT64", shape=[1])
    request.raw_input_contents.append(np.array([20], np.int64).tobytes())
    gateway = start_gateway(MODEL_STORE)
    with connected(gateway.address) as channel:
        before = usage(gateway).rss_mib
        text = refusal(unary(channel, INFER), request.SerializeToString(), compression=grpc.Compression.Gzip)
        assert "found 40000 rows" in text
        assert usage(gateway).rss_mib < before + GROWTH_MIB
