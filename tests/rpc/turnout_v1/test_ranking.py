"""RankingService translates; the graph scores."""

from __future__ import annotations

import math

import pytest

from tests.rpc.turnout_v1.typed_fakes import DECISION, FakeCall, FakeDataPlane
from turnout import v1 as pb
from turnout_server.rpc.turnout_v1 import typed
from turnout_server.rpc.turnout_v1.ranking import RankingService
from turnout_server.vocabulary.errors import (
    InvalidFeatureError,
    InvalidRequestError,
    MissingFeatureError,
    UnknownFeatureError,
)
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Array, Arrays

COLUMNS = (Column("hour"), Column("price"), Column("own", 0.0))
SIGNATURE = Signature(
    inputs=(TensorSpec("features", DType.FP32, (-1, 3), columns=COLUMNS),),
    outputs=(TensorSpec("score", DType.FP32, (-1,)),),
)


def graph(arrays: Arrays) -> dict[str, Array]:
    """Score a row as hour + 10 own - price."""
    hour, price, own = arrays["features"].T
    return {"score": hour + 10 * own - price}


def floats(name: str, *values: float) -> pb.FeatureColumn:
    return pb.FeatureColumn(name=name, floats=pb.FloatValues(values=values))


def request(*ids: str, hour: float = 5, top_k: int = 0, **candidates: tuple[float, ...]) -> pb.RankRequest:
    return pb.RankRequest(
        selector=pb.Selector(name="search"),
        candidate_ids=ids,
        context_features=[floats("hour", hour)],
        candidate_features=[floats(name, *values) for name, values in candidates.items()],
        top_k=top_k,
    )


async def rank(message: pb.RankRequest, plane: FakeDataPlane | None = None) -> pb.RankResponse:
    return await RankingService(plane or FakeDataPlane(SIGNATURE, graph)).Rank(message, FakeCall())


def order(answer: pb.RankResponse) -> list[tuple[str, int]]:
    return [(candidate.id, candidate.index) for candidate in answer.candidates]


async def test_candidates_come_back_best_first_with_scores_and_served() -> None:
    plane = FakeDataPlane(SIGNATURE, graph)
    answer = await rank(request("a", "b", "c", price=(3, 1, 2), own=(0, 0, 1)), plane)
    assert [(one.id, one.index, one.score) for one in answer.candidates] == [("c", 2, 13), ("b", 1, 4), ("a", 0, 2)]
    assert answer.served == typed.served(DECISION, "the-request")
    assert plane.arrays[0]["features"].tolist() == [[5, 3, 0], [5, 1, 0], [5, 2, 1]]
    assert plane.queries[0].task is Task.RANKING


async def test_equal_scores_keep_the_requests_order_and_nan_comes_last() -> None:
    answer = await rank(request("a", "b", "c", "d", price=(2, math.nan, 1, 2)))
    assert order(answer) == [("c", 2), ("a", 0), ("d", 3), ("b", 1)]
    assert math.isnan(answer.candidates[-1].score)


async def test_top_k_cuts_the_answer_and_more_than_there_are_is_all() -> None:
    assert order(await rank(request("a", "b", "c", price=(3, 1, 2), top_k=2))) == [("b", 1), ("c", 2)]
    assert len((await rank(request("a", "b", "c", price=(3, 1, 2), top_k=9))).candidates) == 3


async def test_the_same_id_twice_is_two_candidates() -> None:
    assert order(await rank(request("a", "a", price=(2, 1)))) == [("a", 1), ("a", 0)]


async def test_no_candidates_are_assigned_all_the_same() -> None:
    plane = FakeDataPlane(SIGNATURE, graph)
    answer = await rank(request(price=()), plane)
    assert list(answer.candidates) == []
    assert answer.served == typed.served(DECISION, "the-request")
    assert plane.arrays[0]["features"].shape == (0, 3)


@pytest.mark.parametrize("ids", [(), ("a",), ("a", "b", "c")])
async def test_there_must_be_as_many_values_as_candidates(ids: tuple[str, ...]) -> None:
    with pytest.raises(InvalidFeatureError, match="'price': found 2 values"):
        await rank(request(*ids, price=(1, 2)))


async def test_wrong_features_are_refused_by_name() -> None:
    with pytest.raises(UnknownFeatureError, match="'colour'"):
        await rank(request("a", price=(1,), colour=(1,)))
    with pytest.raises(MissingFeatureError, match="'price'"):
        await rank(request("a"))


async def test_a_feature_stands_in_the_context_or_with_the_candidates_but_not_in_both() -> None:
    message = request("a", price=(1,))
    message.candidate_features.append(floats("hour", 1))
    with pytest.raises(InvalidFeatureError, match="'hour': stands twice"):
        await rank(message)


async def test_a_context_feature_has_one_value() -> None:
    message = request("a", "b", price=(1, 2))
    message.context_features[0].floats.values.append(6)
    with pytest.raises(InvalidFeatureError, match="'hour': found 2 values"):
        await rank(message)


async def test_a_negative_top_k_is_refused_before_anything_runs() -> None:
    plane = FakeDataPlane(SIGNATURE, graph)
    with pytest.raises(InvalidRequestError, match="top_k: found -1"):
        await rank(request("a", price=(1,), top_k=-1), plane)
    assert plane.queries == []


async def test_a_matrix_says_what_columns_say() -> None:
    columns, matrix = FakeDataPlane(SIGNATURE, graph), FakeDataPlane(SIGNATURE, graph)
    one = await rank(request("a", "b", "c", price=(3, 1, math.nan), own=(0, 0, 1)), columns)
    packed = request("a", "b", "c")
    packed.candidate_matrix.names.extend(["own", "price"])
    packed.candidate_matrix.values.extend([0, 3, 0, 1, 1, math.nan])
    assert await rank(packed, matrix) == one
    assert columns.arrays[0]["features"].tobytes() == matrix.arrays[0]["features"].tobytes()


@pytest.mark.parametrize("row", [[7.0, 2.0], [7.0, 2.0] * 3])
async def test_a_row_of_a_matrix_stands_for_all_rows(row: list[float]) -> None:
    packed = request("a", "b", "c")
    packed.candidate_matrix.CopyFrom(pb.FeatureMatrix(names=["price", "own"], values=row))
    assert [candidate.score for candidate in (await rank(packed)).candidates] == [18.0] * 3


@pytest.mark.parametrize(
    ("matrix", "error", "problem"),
    [
        (pb.FeatureMatrix(values=[1]), InvalidRequestError, "candidate_matrix: found 1 values for 0 names"),
        (pb.FeatureMatrix(names=["own", "price"], values=[1, 2, 3]), InvalidRequestError, "found 3 values for 2 names"),
        (pb.FeatureMatrix(names=["own"] * 10_001), InvalidRequestError, "found 10001 names; at most 10000"),
        (pb.FeatureMatrix(names=["own", "own"], values=[1, 2]), InvalidFeatureError, "'own': stands twice"),
        (pb.FeatureMatrix(names=["hour"], values=[1]), InvalidFeatureError, "'hour': stands twice"),
        (pb.FeatureMatrix(names=["other"], values=[1]), UnknownFeatureError, "'other'"),
        (pb.FeatureMatrix(names=["price"], values=[1, 2, 3]), InvalidFeatureError, "found 3 values; expected 1 or 2"),
        (pb.FeatureMatrix(names=["price"]), InvalidFeatureError, "found 0 values; expected 1 or 2"),
    ],
)
async def test_a_matrix_that_does_not_fit_is_refused(
    matrix: pb.FeatureMatrix, error: type[Exception], problem: str
) -> None:
    packed = request("a", "b")
    packed.candidate_matrix.CopyFrom(matrix)
    with pytest.raises(error, match=problem):
        await rank(packed)
