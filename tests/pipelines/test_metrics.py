"""What the metrics say of orders and errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import metrics

FLAGS = st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=8)


def test_recall_is_the_share_of_what_was_wanted() -> None:
    relevance = np.array([[1, 0, 1], [0, 1, 0]])
    assert metrics.recall_at_k(relevance, np.array([4, 1]), 2) == pytest.approx((1 / 4 + 1) / 2)


def test_ndcg_follows_its_formula() -> None:
    relevance = np.array([[0, 1, 1]])
    found = 1 / math.log2(3) + 1 / math.log2(4)
    best = 1 / math.log2(2) + 1 / math.log2(3)
    assert metrics.ndcg_at_k(relevance, np.array([2]), 3) == pytest.approx(found / best)


@given(flags=FLAGS, k=st.integers(1, 6))
def test_the_best_order_scores_one_and_no_order_more(flags: list[list[bool]], k: int) -> None:
    relevance = np.array(flags)
    total = relevance.sum(axis=1)
    best = -np.sort(-relevance.astype(int), axis=1)
    assert metrics.ndcg_at_k(best, total, k) == pytest.approx(1.0 if total.any() else 0.0)
    assert 0.0 <= metrics.ndcg_at_k(relevance, total, k) <= 1.0 + 1e-12


@given(flags=FLAGS)
def test_a_query_that_wants_nothing_changes_nothing(flags: list[list[bool]]) -> None:
    relevance = np.array(flags)
    longer = np.vstack([relevance, np.zeros((1, 6), dtype=bool)])
    for metric in (metrics.recall_at_k, metrics.ndcg_at_k):
        assert metric(longer, longer.sum(axis=1), 3) == metric(relevance, relevance.sum(axis=1), 3)


def test_wanting_more_than_k_places_is_not_held_against_the_order() -> None:
    assert metrics.ndcg_at_k(np.ones((1, 5)), np.array([100]), 5) == pytest.approx(1.0)


def test_padding_never_hits() -> None:
    assert metrics.hits(np.array([[5, -1]]), [{5, -1}]).tolist() == [[True, False]]


@given(st.data())
def test_candidates_are_ordered_within_their_query(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    rows = len(groups)
    scores = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=rows, max_size=rows)))
    relevant = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    relevance, total = metrics.ranked_relevance(scores, relevant, groups, 3)
    for query, size in enumerate(sizes):
        mine = np.flatnonzero(groups == query)
        ordered = sorted(mine, key=lambda row: (-scores[row], row))[:3]
        padding = [False] * (3 - min(size, 3))
        assert relevance[query].astype(bool).tolist() == [bool(relevant[row]) for row in ordered] + padding
        assert total[query] == relevant[mine].sum()


def test_errors_are_in_the_targets_unit() -> None:
    truth, predicted = np.array([0.0, 0.0]), np.array([3.0, -4.0])
    assert metrics.mae(truth, predicted) == pytest.approx(3.5)
    assert metrics.rmse(truth, predicted) == pytest.approx(math.sqrt(12.5))


def test_truth_and_prediction_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"truth has shape \(2,\), predicted \(2, 1\)"):
        metrics.mae(np.zeros(2), np.zeros((2, 1)))


def test_bounds_belong_to_the_interval() -> None:
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    assert metrics.coverage(truth, np.full(4, 2.0), np.full(4, 3.0)) == 0.5
