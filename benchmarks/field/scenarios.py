"""The models and requests of the comparison. All servers get the same bytes, and serve the same ONNX files."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks.field import wire
from benchmarks.field.wire import Way
from turnout_server.onnx.trial import inspect
from turnout_server.store.local import LocalFiles
from turnout_server.store.manifest import MODEL_FILE
from turnout_server.store.publish import Draft, publish
from turnout_server.store.store import DirectoryStore
from turnout_server.tasks import features, recommendation
from turnout_server.tasks.features import FeatureColumn
from turnout_server.vocabulary.signature import Column, Signature, TensorSpec
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Array, Arrays

SEED = 20261124
CANDIDATES = 500
"""Rows of one ranking request."""
MLP_SIZES = (32, 64, 32, 1)
WIDE_SIZES, WIDE_ROWS = (60, 128, 64, 1), 500
DEAR_SIZES, DEAR_ROWS = (16, 640, 640, 640, 1), 64
"""About 2 ms a run; as many rows as a batch may have, so that each request runs alone."""
_MLP_REQUESTS = 64
_WIDE_REQUESTS = 16
_RANKING_REQUESTS = 20
_LABEL = "champion"


class Scenario(NamedTuple):
    """One model, and the requests for it."""

    name: str
    """Also the model's and the route's, where `model` says no other."""
    title: str
    task: Task
    signature: Signature
    file: Path
    """The graph."""
    inputs: tuple[Arrays, ...]
    """Of each request."""
    model: str = ""
    """The model's name and the route's, where several scenarios share one."""
    way: Way = wire.INFER
    """How it is asked."""

    @property
    def route(self) -> str:
        """The model's name and the route's."""
        return self.model or self.name

    def bodies(self) -> tuple[bytes, ...]:
        """Return each request as a serialised message."""
        return tuple(self.way.encode(self.route, self.signature, arrays) for arrays in self.inputs)


def build(model_store: Path, directory: Path) -> dict[str, Scenario]:
    """Make every scenario.

    Args:
        model_store: where price, ranking and recommendation are, and samples of their requests.
        directory: where the graphs are written that are made here.
    """
    found = [
        _perceptron("mlp", f"MLP {_sizes(MLP_SIZES)}, one row", directory, MLP_SIZES, _MLP_REQUESTS, 1),
        *_ranked(directory),
        _perceptron(
            "dear", f"Some 2 ms a run: MLP {_sizes(DEAR_SIZES)}, {DEAR_ROWS} rows", directory, DEAR_SIZES, 16, 64
        ),
    ]
    store = DirectoryStore(model_store)
    for name, (title, task, inputs) in _STORED.items():
        version = store.labels(name)[_LABEL]
        signature = store.manifest(name, version).signature
        samples = json.loads((model_store / "samples" / f"{name}.json").read_text(encoding="utf-8"))["requests"]
        file = LocalFiles(store).verified(name, version)[1] / MODEL_FILE
        found.append(Scenario(name, title, task, signature, file, tuple(inputs(signature, samples))))
    return {scenario.name: scenario for scenario in found}


def write_store(scenarios: Mapping[str, Scenario], root: Path) -> None:
    """Publish every scenario's model into a new store at *root*, with a route of one target to each."""
    routes = {}
    for name, scenario in _models(scenarios).items():
        draft = Draft(model=name, task=scenario.task, signature=scenario.signature, files={MODEL_FILE: scenario.file})
        publish(root, draft, labels=[_LABEL])
        target = {"name": "only", "model": name, "version": _LABEL, "weight": 1}
        routes[name] = {"task": scenario.task.value, "salt": f"{name}-bench", "targets": [target]}
    (root / "routes.yaml").write_text(json.dumps({"routes": routes}, indent=2), encoding="utf-8")  # JSON is YAML


def write_files(scenarios: Mapping[str, Scenario], directory: Path) -> None:
    """Copy every scenario's graph to *directory*, as NAME.onnx, for the servers that have no store."""
    directory.mkdir(parents=True)
    for name, scenario in _models(scenarios).items():
        shutil.copyfile(scenario.file, directory / f"{name}.onnx")


def _models(scenarios: Mapping[str, Scenario]) -> dict[str, Scenario]:
    """Return one scenario of each model, by the model's name."""
    return {scenario.route: scenario for scenario in scenarios.values()}


# ---------------------------------------------------------------- models and inputs


def mlp(sizes: Sequence[int] = MLP_SIZES) -> onnx.ModelProto:
    """Make a multilayer perceptron with seeded weights: FP32 `x` [-1, *sizes*[0]] -> `y` [-1, *sizes*[-1]]."""
    generator = np.random.default_rng(SEED)
    nodes, constants = [], []
    flowing = "x"
    for layer, (wide, narrow) in enumerate(itertools.pairwise(sizes)):
        last = layer == len(sizes) - 2
        weights = generator.standard_normal((wide, narrow), np.float32) * np.float32(wide**-0.5)
        biases = generator.normal(0, 0.1, narrow).astype(np.float32)
        constants += [
            onnx.numpy_helper.from_array(weights, f"weights_{layer}"),
            onnx.numpy_helper.from_array(biases, f"biases_{layer}"),
        ]
        summed = "y" if last else f"summed_{layer}"
        nodes.append(helper.make_node("Gemm", [flowing, f"weights_{layer}", f"biases_{layer}"], [summed]))
        if not last:
            flowing = f"active_{layer}"
            nodes.append(helper.make_node("Relu", [summed], [flowing]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", sizes[0]])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", sizes[-1]])]
    graph = helper.make_graph(nodes, "mlp", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _perceptron(name: str, title: str, directory: Path, sizes: Sequence[int], requests: int, rows: int) -> Scenario:
    """Make a perceptron, and *requests* of seeded noise for it, of *rows* each."""
    file = directory / f"{name}.onnx"
    onnx.save(mlp(sizes), file)
    noise = np.random.default_rng(SEED + 1).normal(size=(requests, rows, sizes[0])).astype(np.float32)
    inputs: tuple[Arrays, ...] = tuple({"x": one} for one in noise)
    return Scenario(name, title, Task.TENSORS, inspect(file), file, inputs)


def _ranked(directory: Path) -> Iterator[Scenario]:
    """Make one model that ranks, and the same matrices for it in three ways."""
    shape = f"{WIDE_ROWS} rows by {WIDE_SIZES[0]} features"
    title = f"MLP {_sizes(WIDE_SIZES)}, {shape}"
    wide = _perceptron("wide", title, directory, WIDE_SIZES, _WIDE_REQUESTS, WIDE_ROWS)
    (spec,) = wide.signature.inputs
    columns = tuple(Column(f"f{index}") for index in range(WIDE_SIZES[0]))
    signature = Signature((TensorSpec(spec.name, spec.dtype, spec.shape, columns=columns),), wide.signature.outputs)
    wide = wide._replace(task=Task.RANKING, signature=signature)
    yield wide
    for name, words, way in (("columns", "columns", wire.COLUMNS), ("matrix", "one packed matrix", wire.MATRIX)):
        yield wide._replace(name=f"rank-{name}", title=f"Typed Rank, {words}: {shape}", model="wide", way=way)


def _sizes(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))


Samples = list[dict[str, Any]]


def _price_inputs(signature: Signature, samples: Samples) -> list[Arrays]:
    return [
        features.pack(signature, {name: _column([value]) for name, value in sample["features"].items()}, 1)
        for sample in samples
    ]


def _ranking_inputs(signature: Signature, samples: Samples) -> list[Arrays]:
    """Make requests of `CANDIDATES` rows from the samples' candidates, which are fewer in each."""
    (name,) = (spec.name for spec in signature.inputs)
    rows = np.concatenate([_candidates(signature, sample)[name] for sample in samples])
    return [
        {name: np.roll(rows, -start, axis=0)[:CANDIDATES].copy()}
        for start in np.linspace(0, len(rows), _RANKING_REQUESTS, endpoint=False, dtype=int)
    ]


def _candidates(signature: Signature, sample: dict[str, Any]) -> Arrays:
    context = (FeatureColumn(name, _column([value])) for name, value in sample["context"].items())
    columns = (FeatureColumn(name, _column(values)) for name, values in sample["candidates"]["features"].items())
    return features.pack(signature, features.collect(context, columns), len(sample["candidates"]["item_ids"]))


def _column(values: list[Any]) -> Array:
    return np.array(values, dtype=object if isinstance(values[0], str) else np.float32)


def _recommendation_inputs(signature: Signature, samples: Samples) -> list[Arrays]:
    return [
        recommendation.arrays(signature, recommendation.wish(one["history"], one["exclude"], one["k"]))
        for one in samples
    ]


_Inputs = Callable[[Signature, Samples], list[Arrays]]

_STORED: Mapping[str, tuple[str, Task, _Inputs]] = {
    "price": ("Price of a diamond, one row, 9 inputs, 3 of them text", Task.PRICE, _price_inputs),
    "ranking": (f"Ranking of {CANDIDATES} candidates", Task.RANKING, _ranking_inputs),
    "recommendation": ("Recommendation from up to 30 items of history", Task.RECOMMENDATION, _recommendation_inputs),
}
