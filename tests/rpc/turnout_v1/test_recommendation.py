"""RecommendationService translates; the graph recommends."""

from __future__ import annotations

import numpy as np
import pytest

from tests.rpc.turnout_v1.typed_fakes import DECISION, FakeCall, FakeDataPlane
from turnout import v1 as pb
from turnout_server.rpc.turnout_v1 import typed
from turnout_server.rpc.turnout_v1.recommendation import RecommendationService
from turnout_server.vocabulary.errors import InvalidRequestError, UnknownOutputError
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Array, Arrays

SIGNATURE = Signature(
    inputs=(
        TensorSpec("history", DType.INT64, (-1, -1)),
        TensorSpec("exclude", DType.INT64, (-1, -1)),
        TensorSpec("k", DType.INT64, (1,)),
    ),
    outputs=(TensorSpec("item_ids", DType.INT64, (-1, -1)), TensorSpec("scores", DType.FP32, (-1, -1))),
)


def graph(arrays: Arrays) -> dict[str, Array]:
    """Recommend items 1 to 5 with scores of 1/item, except the excluded ones, padded to k as a real graph does."""
    k = min(arrays["k"].item(), 5)
    left = [item for item in range(1, 6) if item not in arrays["exclude"]][:k]
    ids = left + [-1] * (k - len(left))
    scores = [1 / item if item > 0 else -1e30 for item in ids]
    return {"item_ids": np.array([ids]), "scores": np.array([scores], np.float32), "extra": np.zeros(1)}


async def recommend(request: pb.RecommendRequest, plane: FakeDataPlane | None = None) -> pb.RecommendResponse:
    request.selector.name = "home"
    return await RecommendationService(plane or FakeDataPlane(SIGNATURE, graph)).Recommend(request, FakeCall())


async def test_items_come_back_best_first_with_scores_and_served() -> None:
    plane = FakeDataPlane(SIGNATURE, graph)
    answer = await recommend(pb.RecommendRequest(history_item_ids=["9", "8"], top_k=2), plane)
    assert [(item.item_id, item.score) for item in answer.items] == [("1", 1.0), ("2", 0.5)]
    assert answer.served == typed.served(DECISION, "the-request")
    assert plane.arrays[0]["history"].tolist() == [[9, 8, -1, -1]]
    assert plane.queries[0].task is Task.RECOMMENDATION
    assert plane.queries[0].outputs == ("item_ids", "scores")


async def test_excluded_items_go_to_the_graph_and_padding_does_not_come_back() -> None:
    answer = await recommend(pb.RecommendRequest(excluded_item_ids=["1", "3", "unheard-of"], top_k=4))
    assert [item.item_id for item in answer.items] == ["2", "4", "5"]


async def test_an_empty_request_asks_for_ten() -> None:
    plane = FakeDataPlane(SIGNATURE, graph)
    answer = await recommend(pb.RecommendRequest(), plane)
    assert plane.arrays[0]["k"].tolist() == [10]
    assert len(answer.items) == 5


@pytest.mark.parametrize("k", [-1, 1001])
async def test_a_wrong_k_is_refused_before_anything_runs(k: int) -> None:
    plane = FakeDataPlane(SIGNATURE, graph)
    with pytest.raises(InvalidRequestError, match="top_k"):
        await recommend(pb.RecommendRequest(top_k=k), plane)
    assert plane.queries == []


async def test_a_model_without_the_outputs_is_refused() -> None:
    with pytest.raises(UnknownOutputError, match="'item_ids'"):
        await recommend(pb.RecommendRequest(), FakeDataPlane(SIGNATURE, lambda arrays: {"y": np.zeros(1)}))


async def test_a_selector_without_name_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="name: is empty"):
        await RecommendationService(FakeDataPlane(SIGNATURE, graph)).Recommend(pb.RecommendRequest(), FakeCall())
