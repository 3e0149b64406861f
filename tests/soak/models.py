"""The models that the soak serves, and what each should answer, worked out by NumPy.

What a model answers depends on its version and on every row that it gets, so that an answer of another version, or with
another caller's rows in it, is a wrong one. All numbers are small and whole: floats hold them exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.e2e import graphs
from tests.e2e.tiny_store import PRICE, RANKING, RECOMMENDATION
from turnout_server.store.manifest import Batching
from turnout_server.store.publish import Draft
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Array, Arrays

ROWS = (0, 1, 1, 1, 2, 3, 8, 64, 65, 130)
"""How many rows a request may have: none, few, a whole batch, and more than one."""
FEW_ROWS = (1, 1, 2, 3)
LARGEST = 1000
SLOW_ROUNDS = 8
"""How often `slow` multiplies a matrix: some milliseconds in all."""


@dataclass(frozen=True)
class Model:
    """A line of versions."""

    name: str
    signature: Signature
    graph: Callable[[int], onnx.ModelProto]
    """Makes the graph of a version."""
    answer: Callable[[int, Arrays], Arrays]
    """Says what a version should answer."""
    draw: Callable[[Random], Arrays]
    """Makes up a request's inputs."""
    task: Task = Task.TENSORS
    batching: Batching = field(default_factory=Batching)

    def draft(self, version: int, directory: Path) -> Draft:
        """Write the graph of *version* into *directory* and return what publishes it."""
        file = directory / f"{self.name}.onnx"
        onnx.save(self.graph(version), file)
        return Draft(
            model=self.name,
            task=self.task,
            signature=self.signature,
            files={"model.onnx": file},
            batching=self.batching,
            owner="soak",
        )


def numbers(random: Random, shape: Sequence[int], dtype: type[np.generic]) -> Array:
    """Return random whole numbers."""
    generator = np.random.default_rng(random.getrandbits(64))
    return generator.integers(-LARGEST, LARGEST, tuple(shape)).astype(dtype)


def _graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    **constants: np.generic | Array,
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "soak", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


_node, _value = helper.make_node, helper.make_tensor_value_info


def _signature(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batched: bool = True) -> Signature:
    return Signature(tuple(inputs), tuple(outputs), batched)


# ---------------------------------------------------------------- rows that go together

_WEIGHTS = np.array([1, 2, 3, 4], np.float32)


def _table(version: int) -> onnx.ModelProto:
    nodes = [
        _node("MatMul", ["x", "weights"], ["sum"]),
        _node("Add", ["sum", "version"], ["total"]),
        _node("Mul", ["x", "version"], ["scaled"]),
    ]
    return _graph(
        nodes,
        [_value("x", TensorProto.FLOAT, ["n", 4])],
        [_value("total", TensorProto.FLOAT, ["n"]), _value("scaled", TensorProto.FLOAT, ["n", 4])],
        weights=_WEIGHTS,
        version=np.float32(version),
    )


TABLE = Model(
    "table",
    _signature(
        [TensorSpec("x", DType.FP32, (-1, 4))],
        [TensorSpec("total", DType.FP32, (-1,)), TensorSpec("scaled", DType.FP32, (-1, 4))],
    ),
    _table,
    lambda version, given: {"total": given["x"] @ _WEIGHTS + version, "scaled": given["x"] * np.float32(version)},
    lambda random: {"x": numbers(random, (random.choice(ROWS), 4), np.float32)},
)


def _wide(version: int) -> onnx.ModelProto:
    return _graph(
        [_node("Add", ["x", "version"], ["y"])],
        [_value("x", TensorProto.INT64, ["n", "m"])],
        [_value("y", TensorProto.INT64, ["n", "m"])],
        version=np.int64(version),
    )


WIDE = Model(
    "wide",
    _signature([TensorSpec("x", DType.INT64, (-1, -1))], [TensorSpec("y", DType.INT64, (-1, -1))]),
    _wide,
    lambda version, given: {"y": given["x"] + version},
    lambda random: {"x": numbers(random, (random.choice(ROWS), random.randint(1, 3)), np.int64)},
)


def _blend(version: int) -> onnx.ModelProto:
    nodes = [
        _node("Cast", ["k"], ["factor"], to=TensorProto.FLOAT),
        _node("Mul", ["x", "factor"], ["product"]),
        _node("Add", ["product", "version"], ["y"]),
    ]
    return _graph(
        nodes,
        [_value("x", TensorProto.FLOAT, ["n", 2]), _value("k", TensorProto.INT64, [1])],
        [_value("y", TensorProto.FLOAT, ["n", 2])],
        version=np.float32(version),
    )


BLEND = Model(
    "blend",
    _signature(
        [TensorSpec("x", DType.FP32, (-1, 2)), TensorSpec("k", DType.INT64, (1,))],
        [TensorSpec("y", DType.FP32, (-1, 2))],
    ),
    _blend,
    lambda version, given: {"y": given["x"] * given["k"].astype(np.float32) + np.float32(version)},
    lambda random: {
        "x": numbers(random, (random.choice(ROWS), 2), np.float32),
        "k": np.array([random.randint(1, 3)], np.int64),
    },
)
"""`k` holds for all rows of a request, so that those with another one must not run together with it."""


def _words(version: int) -> onnx.ModelProto:
    nodes = [_node("Identity", ["word"], ["same"]), _node("Add", ["number", "version"], ["moved"])]
    return _graph(
        nodes,
        [_value("word", TensorProto.STRING, ["n", 1]), _value("number", TensorProto.INT64, ["n", 1])],
        [_value("same", TensorProto.STRING, ["n", 1]), _value("moved", TensorProto.INT64, ["n", 1])],
        version=np.int64(version),
    )


def _draw_words(random: Random) -> Arrays:
    number = numbers(random, (random.choice(ROWS), 1), np.int64)
    word = np.empty(number.shape, object)
    for row in range(len(word)):
        word[row, 0] = random.choice(("", "é", "nul\0", "longer text " * 5)) + str(random.getrandbits(40))
    return {"word": word, "number": number}


WORDS = Model(
    "words",
    _signature(
        [TensorSpec("word", DType.BYTES, (-1, 1)), TensorSpec("number", DType.INT64, (-1, 1))],
        [TensorSpec("same", DType.BYTES, (-1, 1)), TensorSpec("moved", DType.INT64, (-1, 1))],
    ),
    _words,
    lambda version, given: {"same": given["word"], "moved": given["number"] + version},
    _draw_words,
)


def _half(version: int) -> onnx.ModelProto:
    return _graph(
        [_node("Add", ["x", "version"], ["y"])],
        [_value("x", TensorProto.FLOAT16, ["n", 2])],
        [_value("y", TensorProto.FLOAT16, ["n", 2])],
        version=np.float16(version % LARGEST),
    )


HALF = Model(
    "half",
    _signature([TensorSpec("x", DType.FP16, (-1, 2))], [TensorSpec("y", DType.FP16, (-1, 2))]),
    _half,
    lambda version, given: {"y": given["x"] + np.float16(version % LARGEST)},
    lambda random: {"x": numbers(random, (random.choice(ROWS), 2), np.float16)},
)

_SHELF = np.arange(10, dtype=np.float32) * 10


def _picky(version: int) -> onnx.ModelProto:
    nodes = [_node("Gather", ["shelf", "i"], ["found"]), _node("Add", ["found", "version"], ["y"])]
    return _graph(
        nodes,
        [_value("i", TensorProto.INT64, ["n"])],
        [_value("y", TensorProto.FLOAT, ["n"])],
        shelf=_SHELF,
        version=np.float32(version),
    )


PICKY = Model(
    "picky",
    _signature([TensorSpec("i", DType.INT64, (-1,))], [TensorSpec("y", DType.FP32, (-1,))]),
    _picky,
    lambda version, given: {"y": _SHELF[given["i"]] + np.float32(version)},
    lambda random: {"i": numbers(random, (random.choice(FEW_ROWS),), np.int64) % len(_SHELF)},
)
"""Refuses some values while it runs: whoever runs together with such a request must not notice."""


def _slow(version: int) -> onnx.ModelProto:
    body = helper.make_graph(
        [_node("MatMul", ["before", "matrix"], ["after"]), _node("Identity", ["go"], ["go_on"])],
        "body",
        [
            _value("round", TensorProto.INT64, []),
            _value("go", TensorProto.BOOL, []),
            _value("before", TensorProto.FLOAT, [256, 256]),
        ],
        [_value("go_on", TensorProto.BOOL, []), _value("after", TensorProto.FLOAT, [256, 256])],
    )
    nodes = [
        _node("ConstantOfShape", ["shape"], ["start"]),
        _node("ConstantOfShape", ["shape"], ["matrix"]),
        _node("Loop", ["rounds", "", "start"], ["end"], body=body),
        _node("ReduceMax", ["end"], ["zero"], keepdims=0),
        _node("Mul", ["x", "version"], ["product"]),
        _node("Add", ["product", "zero"], ["y"]),
    ]
    return _graph(
        nodes,
        [_value("x", TensorProto.FLOAT, ["n", 2])],
        [_value("y", TensorProto.FLOAT, ["n", 2])],
        shape=np.array([256, 256], np.int64),
        rounds=np.int64(SLOW_ROUNDS),
        version=np.float32(version),
    )


SLOW = Model(
    "slow",
    _signature([TensorSpec("x", DType.FP32, (-1, 2))], [TensorSpec("y", DType.FP32, (-1, 2))]),
    _slow,
    lambda version, given: {"y": given["x"] * np.float32(version)},
    lambda random: {"x": numbers(random, (random.choice(FEW_ROWS), 2), np.float32)},
    batching=Batching(max_rows=4),
)
"""Runs in a worker, in small batches: what a flood fills the queue of."""

# ---------------------------------------------------------------- rows that do not


def _running_sum(version: int, kind: int, dtype: type[np.generic], shape: Sequence[str | int]) -> onnx.ModelProto:
    nodes = [_node("CumSum", ["x", "axis"], ["sums"]), _node("Add", ["sums", "version"], ["y"])]
    ends = [_value("x", kind, shape)], [_value("y", kind, shape)]
    return _graph(nodes, *ends, axis=np.int64(0), version=np.array(version, dtype))


WHOLE = Model(
    "whole",
    _signature([TensorSpec("x", DType.FP64, (-1,))], [TensorSpec("y", DType.FP64, (-1,))], batched=False),
    lambda version: _running_sum(version, TensorProto.DOUBLE, np.float64, ["n"]),
    lambda version, given: {"y": np.cumsum(given["x"]) + version},
    lambda random: {"x": numbers(random, (random.choice(ROWS),), np.float64)},
)
"""Has no batch axis."""

NOSY = Model(
    "nosy",
    _signature([TensorSpec("x", DType.FP32, (-1, 2))], [TensorSpec("y", DType.FP32, (-1, 2))]),
    lambda version: _running_sum(version, TensorProto.FLOAT, np.float32, ["n", 2]),
    lambda version, given: {"y": np.cumsum(given["x"], axis=0, dtype=np.float32) + np.float32(version)},
    lambda random: {"x": numbers(random, (random.choice(ROWS), 2), np.float32)},
)
"""Says that its rows are independent, and each is answered with the sum of those before it: it must run alone."""


def _fixed(version: int) -> onnx.ModelProto:
    return _graph(
        [_node("Mul", ["x", "version"], ["y"])],
        [_value("x", TensorProto.INT32, [8, 3])],
        [_value("y", TensorProto.INT32, [8, 3])],
        version=np.int32(version),
    )


FIXED = Model(
    "fixed",
    _signature([TensorSpec("x", DType.INT32, (8, 3))], [TensorSpec("y", DType.INT32, (8, 3))]),
    _fixed,
    lambda version, given: {"y": given["x"] * np.int32(version)},
    lambda random: {"x": numbers(random, (8, 3), np.int32)},
)
"""Takes eight rows, no more and no fewer."""

# ---------------------------------------------------------------- with typed services


def _price(version: int, given: Arrays) -> Arrays:
    factors = [np.float32(graphs.CUTS.get(cut, 1.0)) for cut in given["cut"][:, 0]]
    price = given["carat"][:, 0] * np.array(factors, np.float32) * np.float32(version)
    return {"price": price, "low": price * np.float32(0.9), "high": price * np.float32(1.1)}


def _draw_price(random: Random) -> Arrays:
    carat = np.abs(numbers(random, (random.choice(ROWS), 1), np.float32)) + np.float32(1)
    cut = np.empty(carat.shape, object)
    for row in range(len(cut)):
        cut[row, 0] = random.choice([*graphs.CUTS, "unheard of"])
    return {"carat": carat, "cut": cut}


PRICES = Model(
    "price", PRICE, lambda version: graphs.price(float(version)), _price, _draw_price, task=Task.PRICE
)  # fmt: skip
RANKS = Model(
    "ranking",
    RANKING,
    lambda version: graphs.ranking([-1, version, 0.5]),
    lambda version, given: {"score": given["features"] @ np.array([-1, version, 0.5], np.float32)},
    lambda random: {"features": numbers(random, (random.choice(ROWS), 3), np.float32)},
    task=Task.RANKING,
)


def _recommend(version: int, given: Arrays) -> Arrays:
    items = np.array(graphs.CATALOGUE)
    popularity = np.arange(len(items), 0, -1, dtype=np.float32)
    seen, excluded = (
        (given[name][:, :, None] == items).sum(axis=1).astype(np.float32) for name in ("history", "exclude")
    )
    scores = seen * np.float32(version) + popularity + excluded * np.float32(-1e9)
    places = np.argsort(-scores, axis=1, kind="stable")[:, : min(int(given["k"][0]), len(items))]
    best = np.take_along_axis(scores, places, axis=1)
    return {"item_ids": np.where(best < -1e8, -1, items[places]), "scores": best}


def _draw_recommendation(random: Random) -> Arrays:
    def ids(most: int) -> Array:
        return np.array([random.choices(range(99, 113), k=random.randint(0, most))], np.int64).reshape(1, -1)

    return {"history": ids(20), "exclude": ids(8), "k": np.array([random.randint(1, 12)], np.int64)}


RECOMMENDATIONS = Model(
    "recommendation",
    RECOMMENDATION,
    lambda version: graphs.recommendation(float(version)),
    _recommend,
    _draw_recommendation,
    task=Task.RECOMMENDATION,
)

MODELS = {
    model.name: model
    for model in (
        *(TABLE, WIDE, BLEND, WORDS, HALF, PICKY, SLOW),
        *(WHOLE, NOSY, FIXED),
        *(PRICES, RANKS, RECOMMENDATIONS),
    )
}
"""All of them, by name."""
