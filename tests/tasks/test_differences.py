"""Two versions' answers to the same rows, compared row by row."""

from __future__ import annotations

import numpy as np
import pytest

from turnout_server.tasks.differences import differences, figures, outputs, worst
from turnout_server.vocabulary.task import Task


def test_rows_are_compared_one_by_one() -> None:
    ours, theirs = {"price": np.array([10.0, 20.0, 40.0])}, {"price": np.array([10.0, 30.0, 30.0])}
    found = differences(Task.PRICE, ours, theirs, 3)
    assert [one.badness for one in found] == [0.0, 0.5, 0.25]
    assert [one.row for one in worst(found, 5)] == [1, 2]
    assert [one.row for one in worst(found, 1)] == [1]
    measured = figures(found)
    assert (measured["compared"], measured["differ"], measured["delta_most"]) == (3, 2, 0.5)
    assert measured["delta_mean"] == pytest.approx((0.0 + 0.5 - 0.25) / 3)
    assert measured["absolute_most"] == 10.0


def test_a_ranking_is_one_list() -> None:
    ours, theirs = {"score": np.array([3.0, 2.0, 1.0])}, {"score": np.array([1.0, 2.0, 3.0])}
    (found,) = differences(Task.RANKING, ours, theirs, 3)
    assert (found.row, found.comparison.tau, found.comparison.top1) == (None, -1.0, False)
    assert figures([found])["top1_agreement"] == 0.0


def test_what_has_no_rows_of_its_own_is_compared_as_a_whole() -> None:
    ours, theirs = {"y": np.array([[1.0, 2.0]]), "n": np.array([1])}, {"y": np.array([[1.0, 2.5]]), "n": np.array([1])}
    for rows in (0, 2):
        (found,) = differences(Task.TENSORS, ours, theirs, rows)
        assert (found.row, found.comparison.absolute) == (None, 0.5)


def test_recommendations_are_compared_a_user_at_a_time() -> None:
    def answer(*users: list[int]) -> dict[str, np.ndarray]:
        return {"item_ids": np.array(users), "scores": np.array([[2.0, 1.0]] * len(users), np.float32)}

    found = differences(Task.RECOMMENDATION, answer([1, 2], [3, 4]), answer([1, 2], [5, 4]), 2)
    assert [one.badness > 0 for one in found] == [False, True]
    assert figures(found)["top1_agreement"] == 0.5


def test_other_shapes_are_unlike_and_the_worst() -> None:
    ours, theirs = {"y": np.array([[1.0], [2.0]])}, {"z": np.array([[1.0], [2.0]])}
    found = differences(Task.TENSORS, ours, theirs, 2)
    assert figures(found)["unlike"] == 2
    assert outputs(ours, theirs) == {}


def test_each_number_is_told_apart_and_texts_are_not() -> None:
    ours = {"y": np.array([1.0, np.nan, 3.0]), "text": np.array(["a", "b", "c"], object)}
    theirs = {"y": np.array([2.0, 2.0, 3.0]), "text": np.array(["a", "b", "d"], object)}
    found = outputs(ours, theirs)
    assert found.keys() == {"y"}
    assert (found["y"]["mean"], found["y"]["apart_mean"], found["y"]["apart_most"]) == (2.0, 0.5, 1.0)
