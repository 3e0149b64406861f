"""How far two answers are apart."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.tasks.comparison import (
    MAX_ELEMENTS,
    MAX_ITEMS,
    MAX_LISTS,
    TOO_LARGE,
    UNLIKE,
    badness,
    compare,
    kendall,
)
from turnout_server.vocabulary.record import Comparison
from turnout_server.vocabulary.tensors import BF16_BITS, Arrays, bf16_of, fp32_of

NUMBERS = st.floats(width=32)


def items(*ids: object, scores: list[float] | None = None) -> Arrays:
    dtype: Any = object if isinstance(ids[0], str) else np.int64
    found = scores or [float(len(ids) - place) for place in range(len(ids))]
    return {"item_ids": np.array([ids], dtype), "scores": np.array([found], np.float32)}


def score(*scores: float) -> Arrays:
    return {"score": np.array(scores, np.float32)}


def prices(*values: float) -> Arrays:
    return {"price": np.array(values, np.float64)}


@given(st.permutations(range(9)).flatmap(lambda order: st.integers(2, 9).map(lambda n: order[:n])))
def test_tau_is_pairs_in_order_less_pairs_out_of_it(places: list[int]) -> None:
    signs = [1 if one < other else -1 for one, other in combinations(places, 2)]
    assert kendall(np.array(places)) == pytest.approx(sum(signs) / len(signs))


def test_tau_of_the_textbook() -> None:
    # Two of ten pairs are discordant.
    assert kendall(np.array([1, 0, 2, 4, 3])) == pytest.approx(0.6)
    assert kendall(np.array([0])) is None


def test_tau_looks_at_the_first_items_only() -> None:
    beyond = np.concatenate([np.arange(MAX_ITEMS), np.arange(2 * MAX_ITEMS, MAX_ITEMS, -1)])
    assert kendall(beyond) == 1.0


@given(st.lists(NUMBERS, min_size=1, max_size=9), st.sampled_from(["ranking", "price", "tensors"]))
def test_an_answer_is_like_itself(values: list[float], task: str) -> None:
    outputs = {"price" if task == "price" else "score": np.array(values, np.float32)}
    found = compare(task, outputs, outputs)
    assert badness(task, found) == 0.0
    assert found.nans == 0
    assert found.absolute in (0.0, None)
    assert found.note == ""


def test_lists_agree_over_the_items_that_both_have() -> None:
    found = compare("recommendation", items(1, 2, 3, 4), items(2, 1, 3, 9))
    assert found.overlap == 0.75
    assert found.tau == pytest.approx(1 / 3)
    assert found.top1 is False
    assert found.absolute == 1.0  # item 1: 4 and 3; item 2: 3 and 4
    assert found.relative == pytest.approx(1 / 3)
    assert found.note == ""


def test_only_the_first_k_overlap() -> None:
    assert compare("recommendation", items(1, 2, 3), items(1, 3, 2), k=2).overlap == 0.5


def test_padding_is_no_item() -> None:
    assert compare("recommendation", items(1, 2, -1, -1), items(1, 2)).overlap == 1.0
    assert compare("recommendation", items("a", "", ""), items("a", "b")).overlap == 0.5
    empty = compare("recommendation", items(-1, -1), items(-1))
    assert (empty.overlap, empty.tau, empty.top1, empty.note) == (None, None, None, "")
    assert compare("recommendation", items(1), items(-1)).overlap == 0.0


def test_ids_are_compared_as_callers_get_them() -> None:
    found = compare("recommendation", items(1, 2), items("1", "2"))
    assert (found.overlap, found.top1, found.note) == (1.0, True, UNLIKE)


def test_an_item_that_stands_twice_counts_once() -> None:
    found = compare("recommendation", items(1, 1, 2), items(1, 2))
    assert (found.overlap, found.tau) == (1.0, 1.0)


def test_several_lists_give_the_mean_and_all_must_begin_alike() -> None:
    both = [{"item_ids": np.array(ids), "scores": np.ones((2, 2))} for ids in ([[1, 2], [3, 4]], [[1, 2], [4, 3]])]
    found = compare("recommendation", *both)
    assert (found.overlap, found.tau, found.top1) == (1.0, 0.0, False)


def test_lists_beyond_the_limit_do_not_count() -> None:
    ids = np.arange(2 * (MAX_LISTS + 1)).reshape(-1, 2)
    other = ids.copy()
    other[MAX_LISTS] = other[MAX_LISTS, ::-1]
    scores = np.ones(ids.shape)
    found = compare("recommendation", {"item_ids": ids, "scores": scores}, {"item_ids": other, "scores": scores})
    assert (found.tau, found.top1) == (1.0, True)


def test_other_numbers_of_lists_are_unlike() -> None:
    two = {"item_ids": np.array([[1], [2]]), "scores": np.ones((2, 1))}
    assert compare("recommendation", two, {name: each[:1] for name, each in two.items()}).note == UNLIKE


def test_candidates_are_compared_in_the_order_that_callers_see() -> None:
    found = compare("ranking", score(0.9, 0.5, 0.1), score(0.4, 0.6, 0.1), k=1)
    assert (found.overlap, found.top1) == (0.0, False)
    assert found.tau == pytest.approx(1 / 3)
    assert found.absolute == pytest.approx(0.5)


def test_equal_scores_keep_the_requests_order_and_nan_comes_last() -> None:
    assert compare("ranking", score(3, 2, 1), score(1, 1, 1)).tau == 1.0
    assert compare("ranking", score(3, 2, 1), score(math.nan, 2, 1)).tau == pytest.approx(-1 / 3)


def test_a_single_output_is_the_score_whatever_its_name() -> None:
    one = {"variable": np.array([[0.5], [0.25]], np.float32)}
    assert compare("ranking", one, one).top1 is True
    assert compare("ranking", {"a": np.ones(2), "b": np.ones(2)}, {"a": np.ones(2), "b": np.ones(2)}).top1 is None


def test_price_differences_have_a_sign_in_the_mean_and_none_at_the_most() -> None:
    found = compare("price", prices(100, 200, -100), prices(110, 100, -100))
    assert found.delta == pytest.approx((0.1 - 0.5 + 0) / 3)
    assert found.delta_most == pytest.approx(0.5)
    assert compare("price", prices(-100), prices(-90)).delta == pytest.approx(0.1)  # dearer is positive


def test_an_original_of_zero_has_no_relative_difference() -> None:
    found = compare("price", prices(0, 0, 100), prices(0, 5, 110))
    assert found.delta == pytest.approx(0.05)
    assert found.absolute == 10
    assert found.relative == pytest.approx(0.1)
    only = compare("price", prices(0), prices(5))
    assert (only.delta, only.delta_most, only.relative, only.absolute) == (None, None, None, 5)


@pytest.mark.parametrize(("one", "other"), [(math.inf, math.inf), (math.inf, 1), (1, math.inf), (math.nan, 1)])
def test_prices_that_are_not_finite_have_no_relative_difference(one: float, other: float) -> None:
    assert compare("price", prices(one, 100), prices(other, 110)).delta == pytest.approx(0.1)


def test_nan_in_one_only_is_counted_and_is_no_difference() -> None:
    found = compare("price", prices(math.nan, math.nan, 1), prices(math.nan, 2, math.nan))
    assert (found.nans, found.absolute, found.delta) == (2, None, None)
    assert badness("price", found) == math.inf


def test_an_infinity_is_far_from_all_but_itself() -> None:
    assert compare("tensors", score(math.inf), score(math.inf)).absolute == 0.0
    for other in (1.0, -math.inf):
        found = compare("tensors", score(math.inf), score(other))
        assert (found.absolute, found.relative) == (math.inf, math.inf)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=9))
def test_numbers_are_as_far_apart_as_the_farthest_two(pairs: list[tuple[float, float]]) -> None:
    found = compare("tensors", score(*(one for one, _ in pairs)), score(*(other for _, other in pairs)))
    known = [(one, other) for one, other in pairs if not (math.isnan(one) or math.isnan(other))]
    apart = [0.0 if one == other else abs(other - one) for one, other in known]
    assert found.absolute == (max(apart) if known else None)
    assert found.nans == sum(math.isnan(one) != math.isnan(other) for one, other in pairs)


@pytest.mark.parametrize(
    "other",
    [
        {"a": np.zeros(3)},
        {"a": np.zeros(2, np.float32)},
        {"b": np.zeros(2)},
        {"a": np.zeros(2), "b": np.zeros(1)},
        {},
    ],
)
def test_other_outputs_shapes_or_dtypes_are_unlike(other: Arrays) -> None:
    found = compare("tensors", {"a": np.zeros(2)}, other)
    assert found.note == UNLIKE
    assert badness("tensors", found) == math.inf


def test_numbers_of_another_width_are_measured_all_the_same() -> None:
    found = compare("tensors", {"a": np.array([1.0])}, {"a": np.array([1.5], np.float32)})
    assert (found.absolute, found.note) == (0.5, UNLIKE)


def test_whole_numbers_do_not_wrap() -> None:
    found = compare("tensors", {"a": np.array([0, 200], np.uint8)}, {"a": np.array([255, 200], np.uint8)})
    assert (found.absolute, found.relative) == (255, 0)


def test_text_is_not_measured() -> None:
    one, other = ({"a": np.array([text], object)} for text in "xy")
    assert compare("tensors", one, other) == Comparison()


def test_answers_that_are_too_large_are_not_compared() -> None:
    half = np.zeros(MAX_ELEMENTS // 2)
    assert compare("tensors", {"a": half}, {"a": half}).note == ""
    assert compare("tensors", {"a": half}, {"a": half, "b": half[:1]}) == Comparison(note=TOO_LARGE)


def test_no_outputs_are_alike() -> None:
    assert compare("tensors", {}, {}) == Comparison()


def test_the_worse_is_worse() -> None:
    ours = items(1, 2, 3, 4)
    others = [ours, items(1, 2, 4, 3), items(2, 1, 4, 3), items(7, 8, 9, 6)]
    found = [badness("recommendation", compare("recommendation", ours, other)) for other in others]
    assert found == sorted(found)
    assert len(set(found)) == 4
    assert badness("price", compare("price", prices(100), prices(150))) == 0.5
    assert badness("price", compare("price", prices(0), prices(5))) == 5
    assert badness("recommendation", Comparison(note="busy")) == 0


def test_bf16_and_fp32_of_the_same_numbers_are_unlike_and_as_far_apart_as_they_are() -> None:
    numbers = np.array([1.5, -2.0], np.float32)
    found = compare("tensors", {"y": bf16_of(numbers).view(BF16_BITS)}, {"y": numbers})
    assert found == Comparison(absolute=0.0, relative=0.0, nans=0, note=UNLIKE)
    found = compare("tensors", {"y": bf16_of(numbers).view(BF16_BITS)}, {"y": bf16_of(numbers)})
    assert found.note == UNLIKE, "the same bits are other numbers in UINT16"


@given(st.lists(NUMBERS, min_size=1, max_size=9), st.integers(0, 3))
def test_bf16_is_compared_as_fp32_of_the_same_numbers_is(values: list[float], shift: int) -> None:
    ours, theirs = bf16_of(np.array(values)), bf16_of(np.roll(np.array(values), shift))
    found = compare("tensors", {"y": ours.view(BF16_BITS)}, {"y": theirs.view(BF16_BITS)})
    assert found == compare("tensors", {"y": fp32_of(ours)}, {"y": fp32_of(theirs)})
