"""The pure parts of the ranking pipeline."""

from __future__ import annotations

import json

import numpy as np

from pipelines import ranking
from pipelines.choices import CANDIDATE, CONTEXT, FEATURES, Queries
from pipelines.ranking import Examples


def examples(sizes: tuple[int, ...]) -> Examples:
    """Return one query for each of *sizes*, its first candidate bought; every feature's value is the row's number."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    rows = len(group)
    asked = Queries(
        customer=np.arange(len(sizes)) + 900,
        day=np.full(len(sizes), 100),
        subclass=np.ones(len(sizes), dtype=np.int64),
        group=group,
        product=np.arange(rows) + 4710199010372,
        bought=np.diff(group, prepend=-1) > 0,
    )
    matrix = np.repeat(np.arange(rows, dtype=np.float32)[:, None], len(FEATURES), axis=1)
    return Examples(asked, matrix)


def test_own_purchases_come_before_any_popularity() -> None:
    some = examples((2,))
    features = some.features.copy()
    features[:, list(FEATURES).index("own_purchases")] = [1, 0]
    features[:, list(FEATURES).index("sold_28d")] = [0, 3753]
    features[:, list(FEATURES).index("share_3d")] = [0, 1]
    scores = ranking.baseline_scores(Examples(some.queries, features))
    assert scores[ranking.STATED].argmax() == 0
    assert scores["own purchases, then sales of 28 days"].argmax() == 0
    assert scores["sales of 28 days"].argmax() == 1


def test_what_was_bought_on_top_is_perfect() -> None:
    some = examples((3, 4))
    assert set(ranking.measure(some, some.queries.bought.astype(float)).values()) == {1.0}


def test_requests_are_small_plain_json_with_their_truth() -> None:
    made = ranking.requests(examples((26, 3, 2)), 50)
    assert json.loads(json.dumps(made)) == made
    assert [request["unit"] for request in made] == ["901", "902"]
    for request in made:
        items = request["candidates"]["item_ids"]
        assert list(request["context"]) == list(CONTEXT)
        assert {name: len(column) for name, column in request["candidates"]["features"].items()} == dict.fromkeys(
            CANDIDATE, len(items)
        )
        assert request["outcome"] == items[:1]


def test_requests_are_spread_over_all_shoppers() -> None:
    made = ranking.requests(examples((1,) * 101), 3)
    assert [request["unit"] for request in made] == ["900", "950", "1000"]


def test_the_signature_names_every_column_with_its_default() -> None:
    (matrix,) = ranking.SIGNATURE.inputs
    assert {column.name: column.default for column in matrix.columns} == FEATURES
    assert matrix.shape == (-1, len(FEATURES))
