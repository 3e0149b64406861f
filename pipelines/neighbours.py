"""An item-to-item neighbourhood model: what goes with what you bought, what you bought before, what everyone buys.

The score of item i is  trend_i * (popularity_i + sum over the history's items h of fade(h) * weight(h, i)),  where fade
falls with the number of purchases since, and weight(h, i) is the cosine between the two items' sets of buyers, shrunk
for few buyers (Sarwar et al. 2001). An item's first neighbour is itself: its weight says how much one purchase speaks
for the next, more for items that customers come back for. The trend favours what sells better of late than before:
part of an assortment goes and comes with the weeks. It is a factor of the stored weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from scipy import sparse

from pipelines import top_items
from pipelines.export import Array, Graph
from pipelines.histories import Histories, places_from_end
from pipelines.sources import Floats, Ints

# Chosen by recall@20 on January, see `pipelines.recommendation`; most of a few dozen settings did about as well there.
NEIGHBOURS = 20
SHRINKAGE = 5.0
"""Buyers that every pair of items is short of."""
HALF_LIFE = 100.0
"""A purchase counts half after this many further ones."""
OWN = 2.0
"""Weight of an item of average loyalty on itself; a cosine is 1 at most."""
LOYALTY = 0.6
"""Exponent on how much more often than average an item is bought on a second day."""
LOYALTY_PRIOR = 5.0
"""Buyers of average loyalty that every item is given, so that few buyers say little."""
POPULARITY = 0.1
"""Score of the best seller for everyone."""
POPULARITY_HALF_LIFE = 14.0
"""In days."""
TREND = 0.3
"""Exponent on an item's share of the last `TREND_DAYS` days' sales over its share of all."""
TREND_DAYS = 7
TREND_PRIOR = 1e-4
"""Added to both shares, so that few sales say little."""


@dataclass(frozen=True)
class Neighbours:
    """A fitted model; its arrays' last row stands for padding and has no weight."""

    items: Ints
    """Raw ids by place, shape [items]."""
    near: Array
    """Places of each item's neighbours, itself first, int16 [items + 1, neighbours]."""
    weights: Array
    """float16 [items + 1, neighbours]."""
    popularity: Array
    """float32 [items + 1]."""

    def scores(self, history: Ints) -> Floats:
        """Return each row's scores, float64 [rows, items + 1]; *history* holds places, padded with `len(items)`.

        The reference in NumPy.
        """
        known = history < len(self.items)
        fade = known / (1 + places_from_end(known) / HALF_LIFE)
        scores = np.tile(self.popularity.astype(np.float64), (len(history), 1))
        for row, (places, fades) in enumerate(zip(history, fade, strict=True)):
            np.add.at(scores[row], self.near[places], fades[:, None] * self.weights[places])
        return scores

    def graph(self) -> onnx.ModelProto:
        """Return the whole ONNX graph, see `top_items`."""
        return top_items.build("neighbours", self.items, self.score)

    def score(self, graph: Graph, history: str) -> str:
        """Add the model's nodes to *graph*: a `top_items.Score`."""
        number = graph.constant(np.int64(len(self.items)))
        known = graph.add("Cast", graph.add("Less", history, number), to=onnx.TensorProto.FLOAT)
        last = graph.constant(np.int64(1))
        since = graph.add("CumSum", known, last, exclusive=1, reverse=1)
        age = graph.add("Div", since, graph.constant(np.float32(HALF_LIFE)))
        fade = graph.add("Div", known, graph.add("Add", age, graph.constant(np.float32(1))))
        near = graph.add("Gather", graph.constant(self.near), history)
        weights = graph.add("Gather", graph.constant(self.weights), history)
        weights = graph.add("Cast", weights, to=onnx.TensorProto.FLOAT)
        votes = graph.add("Mul", weights, graph.add("Unsqueeze", fade, graph.constant(np.array([2]))))
        near = graph.add("Flatten", graph.add("Cast", near, to=onnx.TensorProto.INT64), axis=1)
        rows = graph.add("Slice", graph.add("Shape", history), *(graph.constant(np.array([x])) for x in (0, 1)))
        shape = graph.add("Concat", rows, graph.constant(np.array([1])), axis=0)
        everyone = graph.add("Expand", graph.constant(self.popularity[None, :]), shape)
        votes = graph.add("Flatten", votes, axis=1)
        return graph.add("ScatterElements", everyone, near, votes, axis=1, reduction="add")


def fit(train: Histories) -> Neighbours:
    """Return the model of *train*; the same every time.

    Raises:
        ValueError: there are more items than int16 can count.
    """
    count = len(train.items)
    if count > np.iinfo(np.int16).max:
        raise ValueError(f"{count} items; places are stored as int16, at most {np.iinfo(np.int16).max}")
    bought = sparse.csr_matrix(
        (np.ones(len(train.item)), (train.customer, train.item)), shape=(len(train.customers), count)
    )
    bought.data[:] = 1.0
    together = np.asarray((bought.T @ bought).todense(), dtype=np.float32)
    buyers = together.diagonal().copy()
    cosine = together / (np.sqrt(np.outer(buyers, buyers)) + np.float32(SHRINKAGE))
    np.fill_diagonal(cosine, 0.0)
    width = min(NEIGHBOURS, count - 1)
    near = np.argpartition(-cosine, width - 1, axis=1)[:, :width]
    weights = np.take_along_axis(cosine, near, axis=1)
    own = OWN * (_loyalty(train, buyers) ** LOYALTY)
    near = np.concatenate([np.arange(count)[:, None], near], axis=1)
    weights = np.concatenate([own[:, None], weights], axis=1)
    trend = _trend(train)
    return Neighbours(
        items=train.items,
        near=_with_padding(near, count).astype(np.int16),
        weights=_with_padding(weights * trend[near], 0.0).astype(np.float16),
        popularity=np.append(POPULARITY * _popularity(train) * trend, 0.0).astype(np.float32),
    )


def _loyalty(train: Histories, buyers: Array) -> Floats:
    """Return how much likelier than average a buyer of each item is to buy it on another day, shape [items]."""
    visits = np.unique(np.stack([train.item, train.customer, train.day]), axis=1)
    pairs, days = np.unique(visits[:2], axis=1, return_counts=True)
    again = np.bincount(pairs[0], weights=days > 1, minlength=len(train.items))
    average = float(np.mean(again / buyers))
    return (again + LOYALTY_PRIOR * average) / (buyers + LOYALTY_PRIOR) / average


def _popularity(train: Histories) -> Floats:
    """Return recent sales, the best seller's being 1, shape [items]."""
    fresh = 0.5 ** ((train.day.max() - train.day) / POPULARITY_HALF_LIFE)
    sales = np.bincount(train.item, weights=fresh, minlength=len(train.items))
    return np.asarray(sales / sales.max())


def _trend(train: Histories) -> Floats:
    """Return the factor by which each item's late sales raise or lower its scores, shape [items]."""
    late = train.item[train.day > train.day.max() - TREND_DAYS]
    share = np.bincount(late, minlength=len(train.items)) / len(late)
    usual = train.sales / len(train.item)
    return np.asarray(((share + TREND_PRIOR) / (usual + TREND_PRIOR)) ** TREND)


def _with_padding(table: Array, filling: float) -> Array:
    """Return *table* with one more row, full of *filling*."""
    return np.concatenate([table, np.full((1, table.shape[1]), filling)])
