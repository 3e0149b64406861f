"""The ends that every recommendation graph shares: raw ids to places in front, exclusions and the best k behind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from pipelines.export import Array, Graph
from pipelines.histories import PADDING
from pipelines.sources import Ints
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec

Score = Callable[[Graph, str], str]
"""Adds a model's own nodes: given the name of the history as places, int64 [rows, width], returns the name of its
scores, float32 [rows, items + 1]. The place `items` stands for padding and unknown ids; its score is ignored."""

LOWEST = float(np.finfo(np.float32).min)
"""The score of nothing: what an excluded item gets, and what stands beside the id -1."""
SIGNATURE = Signature(
    inputs=(
        TensorSpec("history", DType.INT64, (-1, -1)),
        TensorSpec("exclude", DType.INT64, (-1, -1)),
        TensorSpec("k", DType.INT64, (1,)),
    ),
    outputs=(TensorSpec("item_ids", DType.INT64, (-1, -1)), TensorSpec("scores", DType.FP32, (-1, -1))),
    # A row is scored against all items, which takes more than 100 KB.
    max_rows=256,
    max_elements=65_536,
)


def build(name: str, items: Ints, score: Score) -> onnx.ModelProto:
    """Return the whole graph: `SIGNATURE` around what *score* adds.

    Args:
        name: the graph's.
        items: raw ids by place, shape [items]; none is -1.
        score: see `Score`.
    """
    graph = Graph()
    history, exclude = _places(graph, items)
    scores = _without(graph, score(graph, history), exclude)
    real = graph.add("Slice", scores, _ints(graph, 0), _ints(graph, len(items)), _ints(graph, 1))
    number = graph.add("Min", "k", _ints(graph, len(items)))
    best, place = graph.add_pair("TopK", real, number, outputs=("scores", "place"), axis=1)
    nothing = graph.add("LessOrEqual", best, graph.constant(np.float32(LOWEST)))
    found = graph.add("Gather", graph.constant(items), place)
    graph.add("Where", nothing, _ints(graph, PADDING), found, output="item_ids")
    return graph.close(name, SIGNATURE)


def top(items: Ints, scores: Array, exclude: Ints, k: int) -> tuple[Ints, Array]:
    """Return what the graph should answer for *scores*, float [rows, items + 1]: item ids and scores, best first.

    The reference in NumPy. *exclude* holds raw ids, int64 [rows, any].
    """
    left = scores[:, : len(items)].astype(np.float32)
    for row, out in zip(left, exclude, strict=True):
        row[np.isin(items, out)] = LOWEST
    place = np.argsort(-left, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(left, place, axis=1)
    return np.where(best <= LOWEST, PADDING, items[place]), best


def _places(graph: Graph, items: Ints) -> tuple[str, str]:
    """Turn the inputs' raw ids into places, by one table; both results are at least one wide.

    One column of padding goes between the two and belongs to both: no operator then meets a width of zero.
    """
    rows = graph.add("Slice", graph.add("Shape", "history"), _ints(graph, 0), _ints(graph, 1))
    column = graph.add("Expand", graph.constant(np.array([[PADDING]])), _joined(graph, rows, _ints(graph, 1)))
    both = graph.add(
        "LabelEncoder",
        graph.add("Concat", "history", column, "exclude", axis=1),
        domain="ai.onnx.ml",
        keys_int64s=items.tolist(),
        values_int64s=list(range(len(items))),
        default_int64=len(items),
    )
    width = graph.add("Slice", graph.add("Shape", "history"), _ints(graph, 1), _ints(graph, 2))
    past = graph.add("Add", width, _ints(graph, 1))
    end = _ints(graph, np.iinfo(np.int64).max)
    history = graph.add("Slice", both, _ints(graph, 0), past, _ints(graph, 1))
    return history, graph.add("Slice", both, width, end, _ints(graph, 1))


def _without(graph: Graph, scores: str, exclude: str) -> str:
    lowest = graph.add("Expand", graph.constant(np.float32(LOWEST)), graph.add("Shape", exclude))
    return graph.add("ScatterElements", scores, exclude, lowest, axis=1)


def _joined(graph: Graph, *parts: str) -> str:
    return graph.add("Concat", *parts, axis=0)


def _ints(graph: Graph, *values: int) -> str:
    return graph.constant(np.array(values, dtype=np.int64))
