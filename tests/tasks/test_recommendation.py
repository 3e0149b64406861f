"""Item ids are text outside and the catalogue's own inside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.tasks import recommendation
from turnout_server.tasks.recommendation import Item, Wish
from turnout_server.vocabulary.errors import InvalidModelError, InvalidRequestError
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec


def signature(ids: DType = DType.INT64, k_shape: tuple[int, ...] = (1,), k_dtype: DType = DType.INT64) -> Signature:
    return Signature(
        inputs=(
            TensorSpec("history", ids, (-1, -1)),
            TensorSpec("exclude", ids, (-1, -1)),
            TensorSpec("k", k_dtype, k_shape),
        ),
        outputs=(),
    )


def test_a_wish_becomes_one_row_of_ids_and_a_count() -> None:
    arrays = recommendation.arrays(signature(), Wish(("3", "1"), ("2",), 5))
    assert {name: (array.tolist(), array.dtype) for name, array in arrays.items()} == {
        "history": ([[3, 1, -1, -1]], np.int64),
        "exclude": ([[2, -1, -1, -1]], np.int64),
        "k": ([5], np.int64),
    }


def test_without_history_and_exclusions_the_rows_have_no_width() -> None:
    for dtype in (DType.INT64, DType.BYTES):
        arrays = recommendation.arrays(signature(dtype), Wish((), (), 5))
        assert arrays["history"].shape == (1, 0)
        assert arrays["exclude"].shape == (1, 0)


STRANGERS = ["", "milk", "1.0", "1_0", " 1", "1 ", "+1", "--1", "-", "\u0661", "0x1", "1e3", "9" * 19, "9" * 10_000]


@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_is_no_number_is_an_item_that_a_graph_of_numbers_does_not_know(stranger: str) -> None:
    arrays = recommendation.arrays(signature(), Wish(("1", stranger, "2"), (stranger,), 5))
    assert arrays["history"].tolist() == [[1, 2, -1, -1]]
    assert arrays["exclude"].shape == (1, 0)


@given(ids=st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_every_id_that_comes_out_of_a_graph_can_go_into_it(ids: list[int]) -> None:
    items = recommendation.items({"item_ids": np.array([ids], np.int64), "scores": np.zeros((1, len(ids)))}, 1000)
    arrays = recommendation.arrays(signature(), Wish(tuple(item.id for item in items), (), 5))
    row = arrays["history"][0].tolist()
    assert [item for item in row if item != -1] == [item for item in ids if item != -1]


def test_a_graph_of_text_gets_ids_as_they_are() -> None:
    arrays = recommendation.arrays(signature(DType.BYTES), Wish(("milk", "007", ""), ("1_0",), 5))
    assert arrays["history"].tolist() == [["milk", "007", "", ""]]
    assert arrays["exclude"].tolist() == [["1_0", "", "", ""]]
    assert arrays["history"].dtype == object


@given(count=st.integers(0, 300), dtype=st.sampled_from([DType.INT64, DType.BYTES]))
def test_padding_gives_histories_few_widths_and_stands_behind_the_ids(count: int, dtype: DType) -> None:
    """Requests of one width can run together."""
    ids = [str(number) for number in range(1, count + 1)]
    row = recommendation.arrays(signature(dtype), Wish(tuple(ids), (), 5))["history"][0].tolist()
    assert len(row) in (0, 4, 8, 16, 32, 64, 128, 256, 512)
    assert len(row) < max(2 * count, 5)
    assert [str(item) for item in row[:count]] == ids
    assert set(row[count:]) <= {-1, ""}


def test_an_id_that_a_small_integer_cannot_hold_is_unknown() -> None:
    arrays = recommendation.arrays(signature(DType.UINT8), Wish(("255", "256", "-1"), (), 5))
    assert arrays["history"].tolist() == [[255]]


@pytest.mark.parametrize(("shape", "expected"), [((), 7), ((1,), [7]), ((-1,), [7]), ((-1, 1), [[7]])])
def test_k_has_the_shape_that_the_graph_wants(shape: tuple[int, ...], expected: object) -> None:
    assert recommendation.arrays(signature(k_shape=shape), Wish((), (), 7))["k"].tolist() == expected


@pytest.mark.parametrize(
    "wrong",
    [
        signature(DType.FP32),
        signature(k_dtype=DType.FP32),
        signature(k_shape=(2,)),
        Signature(inputs=signature().inputs[:2], outputs=()),
        Signature(inputs=(*signature().inputs, TensorSpec("age", DType.INT64, (-1,))), outputs=()),
    ],
)
def test_a_graph_with_other_inputs_is_refused(wrong: Signature) -> None:
    with pytest.raises(InvalidModelError):
        recommendation.arrays(wrong, Wish((), (), 5))


def test_no_k_means_ten() -> None:
    assert recommendation.wish([], [], 0).k == 10


@pytest.mark.parametrize("k", [1, 1000])
def test_k_may_be_from_1_to_1000(k: int) -> None:
    assert recommendation.wish([], [], k).k == k


@pytest.mark.parametrize("k", [-1, 1001, -(2**31), 2**31 - 1])
def test_another_k_is_refused(k: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"top_k: found {k}"):
        recommendation.wish([], [], k)


def test_a_list_that_is_too_long_is_refused_by_name() -> None:
    long = ["1"] * recommendation.MAX_IDS
    assert len(recommendation.wish(long, long, 1).history) == recommendation.MAX_IDS
    with pytest.raises(InvalidRequestError, match="history_item_ids: found 10001"):
        recommendation.wish([*long, "2"], [], 1)
    with pytest.raises(InvalidRequestError, match="excluded_item_ids: found 10001"):
        recommendation.wish([], [*long, "2"], 1)


def test_padding_does_not_come_back() -> None:
    scores = np.array([[0.5, 0.25, -1e30]], np.float32)
    numbers = recommendation.items({"item_ids": np.array([[7, 3, -1]]), "scores": scores}, 10)
    texts = recommendation.items({"item_ids": np.array([["b", "a", ""]], object), "scores": scores}, 10)
    assert numbers == [Item("7", 0.5), Item("3", 0.25)]
    assert texts == [Item("b", 0.5), Item("a", 0.25)]


def test_no_more_than_k_items_come_back_even_if_the_graph_gives_more() -> None:
    outputs = {"item_ids": np.array([[7, 3, 5]]), "scores": np.array([[3.0, 2.0, 1.0]])}
    assert [item.id for item in recommendation.items(outputs, 2)] == ["7", "3"]


@pytest.mark.parametrize(("ids", "scores"), [((2, 3), (2, 3)), ((1, 3), (1, 2)), ((3,), (3,)), ((0, 3), (0, 3))])
def test_an_answer_of_another_shape_is_the_models_fault(ids: tuple[int, ...], scores: tuple[int, ...]) -> None:
    with pytest.raises(InvalidModelError, match="for one user"):
        recommendation.items({"item_ids": np.ones(ids, np.int64), "scores": np.ones(scores)}, 10)
