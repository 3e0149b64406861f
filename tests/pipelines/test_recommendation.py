"""The recommendation graph answers as the contract says, whatever the history, the exclusions and k."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import neighbours, recommendation, top_items
from pipelines.histories import Histories, padded, split
from pipelines.neighbours import Neighbours
from pipelines.report import PipelineError
from pipelines.sources import Purchases

Array = npt.NDArray[Any]
Run = Callable[[Array, Array, int], tuple[Array, Array]]

ITEMS = np.array([5, 20008819, 4710199010372, 4711271000014, 9789579967617])
UNKNOWN = 4710199010373
COUNT = len(ITEMS)


@pytest.fixture(scope="module")
def model() -> Neighbours:
    """Five items in a ring: each one's neighbours are itself and the next; the last sells best."""
    place = np.arange(COUNT)
    near = np.append(np.stack([place, (place + 1) % COUNT], axis=1), [[COUNT, COUNT]], axis=0)
    weights = np.append(np.tile([2.0, 0.5], (COUNT, 1)), [[0.0, 0.0]], axis=0)
    popularity = np.array([0.001, 0.002, 0.003, 0.004, 0.005, 0.0], dtype=np.float32)
    return Neighbours(ITEMS, near.astype(np.int16), weights.astype(np.float16), popularity)


@pytest.fixture(scope="module")
def run(model: Neighbours) -> Run:
    return recommendation._session(model.graph())


def rows(*rows: list[int]) -> Array:
    return padded([np.array(row, dtype=np.int64) for row in rows], -1)


NOTHING = rows([])
RAW_IDS = st.sampled_from([*ITEMS.tolist(), UNKNOWN])


def test_the_best_item_was_bought_and_the_next_goes_with_it(run: Run) -> None:
    ids, scores = run(rows([5]), NOTHING, 2)
    assert ids.tolist() == [[5, 20008819]]
    assert scores == pytest.approx(np.array([[2.001, 0.502]]))


def test_the_latest_purchase_counts_most(run: Run) -> None:
    assert run(rows([5, 4711271000014]), NOTHING, 1)[0].tolist() == [[4711271000014]]
    assert run(rows([4711271000014, 5]), NOTHING, 1)[0].tolist() == [[5]]


@pytest.mark.parametrize("history", [[], [-1, -1], [UNKNOWN]])
def test_without_a_known_history_what_sells_best_comes_first(run: Run, history: list[int]) -> None:
    ids, scores = run(rows(history), NOTHING, COUNT)
    assert ids.tolist() == [ITEMS[::-1].tolist()]
    assert scores[0] == pytest.approx([0.005, 0.004, 0.003, 0.002, 0.001])


def test_no_rows_get_no_answers(run: Run) -> None:
    empty = np.zeros((0, 3), dtype=np.int64)
    assert run(empty, empty, 2)[0].shape == (0, 2)


def test_k_beyond_the_catalogue_means_all_of_it(run: Run) -> None:
    assert sorted(run(rows([5]), NOTHING, 10**12)[0][0].tolist()) == sorted(ITEMS.tolist())


def test_where_nothing_is_left_the_id_says_so_and_the_score_is_finite(run: Run) -> None:
    ids, scores = run(rows([5]), rows([*ITEMS.tolist()[1:], UNKNOWN]), 3)
    assert ids.tolist() == [[5, -1, -1]]
    assert np.isfinite(scores).all()
    assert (scores[0, 1:] == top_items.LOWEST).all()


@given(
    asked=st.lists(st.tuples(st.lists(RAW_IDS, max_size=12), st.lists(RAW_IDS, max_size=6)), min_size=1, max_size=5),
    k=st.integers(1, COUNT + 2),
)
def test_each_row_is_answered_as_if_alone_and_never_with_what_it_excludes(
    run: Run, asked: list[tuple[list[int], list[int]]], k: int
) -> None:
    ids, scores = run(rows(*(history for history, _ in asked)), rows(*(out for _, out in asked)), k)
    assert ids.shape == scores.shape == (len(asked), min(k, COUNT))
    for row, (history, exclude) in enumerate(asked):
        alone_ids, alone_scores = run(rows(history), rows(exclude), k)
        assert ids[row].tolist() == alone_ids[0].tolist()
        assert scores[row].tolist() == alone_scores[0].tolist()
        assert not set(ids[row].tolist()) & set(exclude)


@given(history=st.lists(st.integers(0, COUNT - 1), max_size=300), exclude=st.lists(RAW_IDS, max_size=3))
def test_the_graph_gives_each_item_the_models_score(
    run: Run, model: Neighbours, history: list[int], exclude: list[int]
) -> None:
    places = rows(history)
    wanted_scores = model.scores(places)
    ids, scores = run(ITEMS[places], rows(exclude), COUNT)
    _, best = top_items.top(ITEMS, wanted_scores, rows(exclude), COUNT)
    assert scores == pytest.approx(best, rel=1e-5, abs=1e-5)
    left = ids[0] >= 0
    by_id = wanted_scores[0][np.searchsorted(ITEMS, ids[0][left])]
    assert scores[0][left] == pytest.approx(by_id, rel=1e-5, abs=1e-5)


def test_a_true_export_is_accepted(model: Neighbours) -> None:
    past = [np.array([0, 1, 1]), np.array([4])]
    assert recommendation.verify(model.graph(), ITEMS, past, model.scores) < 1e-5


def test_an_export_with_other_scores_is_refused(model: Neighbours) -> None:
    def tilted(history: Array) -> Array:
        return model.scores(history) + np.linspace(0, 0.1, COUNT + 1)

    with pytest.raises(PipelineError, match="scores differ"):
        recommendation.verify(model.graph(), ITEMS, [np.array([0, 1])], tilted)


def asked(*wanted: set[int]) -> recommendation.HeldOut:
    return recommendation.HeldOut(np.arange(len(wanted)), [np.array([0])] * len(wanted), list(wanted))


def test_a_difference_and_its_error_are_paired_over_customers() -> None:
    """Recalls are 1, 1, 1/2 and 0 against 1, 0, 0 and 0: gains of 0, 1, 1/2 and 0."""
    found = recommendation.compare(
        asked({5}, {6}, {7, 8}, {9}), rows([5, -1], [6, -1], [7, -1], [1, -1]), rows([5, -1], [5, -1], [5, -1], [5, -1])
    )
    assert found == pytest.approx((0.375, np.std([0, 1, 0.5, 0], ddof=1) / 2))


def test_no_line_of_february_reaches_the_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def ended(purchases: Purchases, day: int, **rest: Any) -> tuple[Histories, Histories]:
        train, test = split(purchases, day, fewest_buyers=1, fewest_items=1, **rest)
        seen.extend([*train.day.tolist(), *test.day.tolist()])
        return train, test

    def fit(train: Histories, _: object) -> recommendation._Trained:
        model = neighbours.fit(train)
        return recommendation._Trained("any", "", (), "", model.graph(), model.scores)

    monkeypatch.setattr(recommendation.histories, "split", ended)
    monkeypatch.setattr(recommendation, "_neighbours", fit)
    monkeypatch.setattr(recommendation, "_network", fit)
    monkeypatch.setattr(recommendation, "K", 2)
    found = recommendation.validate(sales())
    assert sorted(set(seen)) == [59, 60, 61, 91]
    assert found["any"] == pytest.approx(1.0)


def sales() -> Purchases:
    """Two customers buy items 10 and 20, or 20 and 30, around both months' beginnings."""
    lines = [(day, 7, item) for day in (59, 60, 61, 91, 92) for item in (10, 20)]
    lines += [(day, 8, item) for day in (59, 60, 61, 91, 92) for item in (20, 30)]
    day, customer, product = np.array(sorted(lines), dtype=np.int64).T
    ones = np.ones(len(day), dtype=np.int64)
    return Purchases(day=day, customer=customer, subclass=ones, product=product, amount=ones, sales=ones.astype(float))


def test_what_sells_better_of_late_scores_higher() -> None:
    """Items 10 and 20 sell the same in all, to two customers each; only 20 sells in the last week."""
    lines = [(day, customer, 10) for day in (1, 3) for customer in (1, 2)]
    lines += [(day, customer, 20) for day in (1, 20) for customer in (3, 4)]
    day, customer, product = np.array(sorted(lines), dtype=np.int64).T
    ones = np.ones(len(day), dtype=np.int64)
    bought = Purchases(
        day=day, customer=customer, subclass=ones, product=product, amount=ones, sales=ones.astype(float)
    )
    model = neighbours.fit(split(bought, 99, fewest_buyers=1, fewest_items=1)[0])
    assert model.weights[1, 0] > model.weights[0, 0]
    assert model.weights[2].tolist() == [0.0, 0.0]
