"""The same matrix in three ways, and who notices a wrong answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.field import scenarios, wire
from turnout.v1 import ranking_service_pb2 as rank_pb
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", DType.FP32, (-1, 2), columns=(Column("a"), Column("b"))),), ())
MATRIX = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
SCORES = {"y": np.array([[0.5], [0.25], [0.75]], np.float32)}


def ranked(*candidates: tuple[int, float]) -> bytes:
    response = rank_pb.RankResponse()
    for index, score in candidates:
        response.candidates.add(id=f"item-{index}", index=index, score=score)
    response.served.request_id = f"r-{len(candidates)}"
    return response.SerializeToString()


RIGHT = ranked((2, 0.75), (0, 0.5), (1, 0.25))


def test_columns_and_a_packed_matrix_say_the_same() -> None:
    by_columns, by_matrix = (
        rank_pb.RankRequest.FromString(way.encode("wide", SIGNATURE, {"x": MATRIX}))
        for way in (wire.COLUMNS, wire.MATRIX)
    )
    for request in (by_columns, by_matrix):
        assert request.selector.name == "wide"
        assert list(request.candidate_ids) == ["item-0", "item-1", "item-2"]
    columns = {column.name: list(column.floats.values) for column in by_columns.candidate_features}
    assert columns == {"a": [1, 3, 5], "b": [2, 4, 6]}
    assert list(by_matrix.candidate_matrix.names) == ["a", "b"]
    assert list(by_matrix.candidate_matrix.values) == MATRIX.ravel().tolist()


def test_what_is_decoded_was_encoded() -> None:
    model, inputs = wire.decode(wire.encode("wide", SIGNATURE, {"x": MATRIX}))
    assert model == "wide"
    assert np.array_equal(inputs["x"], MATRIX)


def test_a_right_order_does_not_differ() -> None:
    assert wire.COLUMNS.difference(RIGHT, SCORES) == ""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ranked((2, 0.75), (0, 0.5)), "2 candidates are not the 3"),
        (ranked((2, 0.75), (0, 0.5), (0, 0.5)), "3 candidates are not the 3"),
        (ranked((2, 0.75), (1, 0.5), (0, 0.25)), "another score"),
        (ranked((0, 0.5), (2, 0.75), (1, 0.25)), "the best candidate is not the first"),
        (RIGHT.replace(b"item-2", b"item-1"), "another one's id"),
    ],
)
def test_a_wrong_order_is_found(answer: bytes, said: str) -> None:
    assert said in wire.COLUMNS.difference(answer, SCORES)


def test_who_answered_is_no_part_of_the_contents() -> None:
    """Each call has another request id, and all else must be equal to the byte."""
    other = rank_pb.RankResponse.FromString(RIGHT)
    other.served.request_id = "another"
    assert other.SerializeToString() != RIGHT
    assert wire.COLUMNS.contents(other.SerializeToString()) == wire.COLUMNS.contents(RIGHT) != b""
    assert wire.COLUMNS.contents(ranked((0, 0.5))) != wire.COLUMNS.contents(RIGHT)


def test_fields_are_those_of_the_messages() -> None:
    """The load generator knows them by number only."""
    assert pb.ModelInferResponse.DESCRIPTOR.fields_by_number[wire.INFER.field].name == "raw_output_contents"
    assert rank_pb.RankResponse.DESCRIPTOR.fields_by_number[wire.COLUMNS.field].name == "candidates"


def test_models_of_several_scenarios_are_published_once(tmp_path: Path) -> None:
    found = {one.name: one for one in scenarios._ranked(tmp_path)}
    assert list(found) == ["wide", "rank-columns", "rank-matrix"]
    scenarios.write_files(found, tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["wide.onnx"]
    scenarios.write_store(found, tmp_path / "store")
    assert [path.name for path in (tmp_path / "store" / "models").iterdir()] == ["wide"]
