"""Scores become an order that is the same every time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.tasks import features, ranking
from turnout_server.tasks.features import FeatureColumn
from turnout_server.vocabulary.errors import (
    InvalidFeatureError,
    InvalidModelError,
    InvalidRequestError,
    UnknownOutputError,
)


def column(name: str, *values: float) -> FeatureColumn:
    return FeatureColumn(name, np.array(values, np.float32))


@given(values=st.lists(st.sampled_from([math.nan, -math.inf, -1.0, 0.0, -0.0, 1.0, math.inf])), top_k=st.integers(0, 9))
def test_best_first_equal_in_the_requests_order_nan_last(values: list[float], top_k: int) -> None:
    ranked = ranking.order(np.array(values, np.float32), top_k)
    naive = sorted(
        range(len(values)), key=lambda i: (math.isnan(values[i]), 0 if math.isnan(values[i]) else -values[i])
    )
    assert [one.position for one in ranked] == (naive[:top_k] if top_k else naive)
    np.testing.assert_array_equal([one.score for one in ranked], [values[one.position] for one in ranked])


def test_the_output_called_score_counts_among_several() -> None:
    outputs = {"label": np.array([1, 0]), "score": np.array([[0.5], [0.25]], np.float32)}
    assert ranking.scores(outputs, 2).tolist() == [0.5, 0.25]


def test_a_single_output_is_the_score_whatever_its_name() -> None:
    assert ranking.scores({"variable": np.array([0.5, 0.25], np.float32)}, 2).tolist() == [0.5, 0.25]


def test_whole_numbers_are_scores_and_the_smallest_does_not_wrap() -> None:
    scores = ranking.scores({"score": np.array([-128, 127], np.int8)}, 2)
    assert [one.position for one in ranking.order(scores, 0)] == [1, 0]


def test_several_outputs_without_a_score_are_refused() -> None:
    with pytest.raises(UnknownOutputError, match=r"'score'.*'a', 'b'"):
        ranking.scores({"a": np.zeros(1), "b": np.zeros(1)}, 1)


@pytest.mark.parametrize("shape", [(), (3,), (1, 2), (2, 2), (2, 1, 1)])
def test_anything_but_one_score_a_candidate_is_the_models_fault(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidModelError, match="for 2 candidates"):
        ranking.scores({"score": np.zeros(shape)}, 2)


def test_text_is_no_score() -> None:
    with pytest.raises(InvalidModelError):
        ranking.scores({"score": np.array(["a"], object)}, 1)


def test_context_and_candidates_make_one_set_of_columns() -> None:
    columns = ranking.columns([column("hour", 9)], [column("price", 1, 2)])
    assert {name: values.tolist() for name, values in columns.items()} == {"hour": [9], "price": [1, 2]}


@pytest.mark.parametrize("values", [(), (1, 2)])
def test_a_feature_of_the_context_has_one_value(values: tuple[float, ...]) -> None:
    with pytest.raises(InvalidFeatureError, match=f"'hour': found {len(values)} values"):
        ranking.columns([column("hour", *values)], [])


def test_a_name_may_not_stand_in_context_and_candidates() -> None:
    with pytest.raises(InvalidFeatureError, match="'hour': stands twice"):
        ranking.columns([column("hour", 9)], [column("hour", 9)])


def test_a_negative_top_k_is_refused() -> None:
    ranking.check(5, 0)
    ranking.check(5, 9)
    with pytest.raises(InvalidRequestError, match="top_k: found -1"):
        ranking.check(5, -1)


def test_too_many_candidates_are_refused() -> None:
    ranking.check(features.MAX_ROWS, 0)
    with pytest.raises(InvalidRequestError, match="candidate_ids: found 10001"):
        ranking.check(features.MAX_ROWS + 1, 0)
