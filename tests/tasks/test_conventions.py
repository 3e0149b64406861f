"""What a model must look like to do its task."""

from __future__ import annotations

import pytest

from turnout_server.tasks.conventions import check_task
from turnout_server.vocabulary.errors import InvalidModelError
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task

FEATURE = TensorSpec("carat", DType.FP32, (-1,))
MATRIX = TensorSpec("m", DType.FP32, (-1, 2), columns=(Column("a"), Column("b")))
PRICES = tuple(TensorSpec(name, DType.FP32, (-1,)) for name in ("price", "low", "high"))
SCORE = (TensorSpec("anything", DType.FP32, (-1, 1)),)
ASKED = (
    TensorSpec("history", DType.INT64, (-1, -1)),
    TensorSpec("exclude", DType.BYTES, (-1, -1)),
    TensorSpec("k", DType.INT64, (1,)),
)
ITEMS = (TensorSpec("item_ids", DType.INT64, (-1, -1)), TensorSpec("scores", DType.FP32, (-1, -1)))


@pytest.mark.parametrize(
    ("task", "inputs", "outputs"),
    [
        (Task.PRICE, (FEATURE, MATRIX), PRICES),
        (Task.RANKING, (MATRIX,), SCORE),
        (Task.RECOMMENDATION, ASKED, ITEMS),
        (Task.TENSORS, (), ()),
    ],
)
def test_models_that_can_do_their_task(
    task: Task, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> None:
    check_task(task, Signature(inputs, outputs))


@pytest.mark.parametrize(
    ("task", "inputs", "outputs", "problem"),
    [
        (Task.PRICE, (FEATURE,), PRICES[:2], "no output 'high'; the graph has price, low"),
        (Task.PRICE, (TensorSpec("x", DType.FP32, (-1, 3)),), PRICES, "name its columns"),
        (Task.PRICE, (TensorSpec("x", DType.FP32, (4, 2), columns=MATRIX.columns),), PRICES, "takes 4 rows only"),
        (Task.PRICE, (TensorSpec("x", DType.BYTES, (-1, 2), columns=MATRIX.columns),), PRICES, "matrix of text"),
        (Task.RANKING, (FEATURE,), PRICES, "no output 'score'"),
        (Task.RANKING, (FEATURE,), (TensorSpec("s", DType.BYTES, (-1,)),), "expected FP32"),
        (Task.RECOMMENDATION, ASKED[:2], ITEMS, "expected history, exclude, k"),
        (Task.RECOMMENDATION, (TensorSpec("history", DType.FP32, (-1, -1)), *ASKED[1:]), ITEMS, "'history' is FP32"),
        (Task.RECOMMENDATION, (*ASKED[:2], TensorSpec("k", DType.INT64, (2,))), ITEMS, "input 'k' is INT64"),
        (Task.RECOMMENDATION, ASKED, (ITEMS[0], TensorSpec("scores", DType.FP32, (-1,))), "output 'scores'"),
    ],
)
def test_models_that_cannot_are_told_what_is_expected(
    task: Task, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], problem: str
) -> None:
    with pytest.raises(InvalidModelError, match=problem):
        check_task(task, Signature(inputs, outputs))
