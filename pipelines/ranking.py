"""Which of a subclass's products a shopper will take, best first.

Version 1 is scikit-learn's histogram gradient boosting, which asks of each candidate whether it is bought; version 2 is
LightGBM's LambdaMART (Burges 2010), which asks of pairs of candidates which one is. Both graphs take one matrix whose
rows are candidates; a NaN in it counts as the column's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pipelines import export, metrics, samples
from pipelines.choices import CANDIDATE, CONTEXT, FEATURES, History, Queries, queries
from pipelines.export import Array, Graph
from pipelines.report import Result, Say, ignore, require_better
from pipelines.sources import TA_FENG, Floats, ta_feng
from turnout_server.store.manifest import Lineage
from turnout_server.tasks.features import MAX_ROWS
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task

MODEL = "ranking"
SEED = 7
TRAIN_DAYS = (61, 92)
"""January 2001."""
TEST_DAYS = (92, 120)
"""February 2001."""
TRAIN_QUERIES, TEST_QUERIES = 30_000, 40_000
ABSOLUTE_TOLERANCE = 1e-4
STATED = "own purchases, then sales of 3 days"
"""The strongest of the baselines, which goes into the manifests."""
SIGNATURE = Signature(
    inputs=(
        TensorSpec(
            "features",
            DType.FP32,
            (-1, len(FEATURES)),
            columns=tuple(Column(name, default) for name, default in FEATURES.items()),
        ),
    ),
    outputs=(TensorSpec("score", DType.FP32, (-1,)),),
    max_rows=MAX_ROWS,
    max_elements=MAX_ROWS * len(FEATURES),
)


@dataclass(frozen=True)
class Examples:
    """Queries and the features of their candidates."""

    queries: Queries
    features: Array
    """float32 [rows, len(FEATURES)]."""

    def column(self, name: str) -> Floats:
        """Return one feature as float64 [rows]."""
        return self.features[:, list(FEATURES).index(name)].astype(np.float64)


def build(store: Path, say: Say = ignore) -> list[Result]:
    """Train, check and publish both versions into *store*.

    Raises:
        SourceError: the data cannot be had.
        PipelineError: a version does not beat the baselines, or its export is not what was trained.
    """
    say("reading Ta Feng")
    purchases = ta_feng()
    say("computing features")
    history = History(purchases)
    asked = [queries(purchases, *days) for days in (TRAIN_DAYS, TEST_DAYS)]
    chosen = [_sample(every, count) for every, count in zip(asked, (TRAIN_QUERIES, TEST_QUERIES), strict=True)]
    train, test = (Examples(some, history.features(some)) for some in chosen)
    baselines = {name: measure(test, scores) for name, scores in baseline_scores(test).items()}
    say("training scikit-learn's histogram gradient boosting")
    first = _pointwise(train, test)
    say("training LightGBM's LambdaMART")
    second = _lambdamart(train, test)
    say("verifying both exports")
    checked = [_check(trained, test, baselines) for trained in (first, second)]
    say("publishing")
    results = [
        _publish(store, one, baselines, label) for one, label in zip(checked, ("champion", "challenger"), strict=True)
    ]
    samples.write(store, MODEL, Task.RANKING, list(FEATURES), requests(test, 50))
    return results


def baseline_scores(test: Examples) -> dict[str, Floats]:
    """Return the scores of each baseline by its name; sales break ties between equal counts of own purchases."""
    own = test.column("own_purchases") * 1e6
    return {
        "sales of 28 days": test.column("sold_28d"),
        "own purchases, then sales of 28 days": own + test.column("sold_28d"),
        STATED: own + test.column("share_3d"),
    }


def measure(test: Examples, scores: Array) -> dict[str, float]:
    """Return how well *scores* order the candidates: ndcg@10 and recall@1, 5 over queries."""
    relevance, total = metrics.ranked_relevance(scores, test.queries.bought, test.queries.group, 10)
    return {
        "ndcg@10": metrics.ndcg_at_k(relevance, total, 10),
        "recall@1": metrics.recall_at_k(relevance, total, 1),
        "recall@5": metrics.recall_at_k(relevance, total, 5),
    }


def requests(test: Examples, count: int) -> list[dict[str, Any]]:
    """Return *count* held-out queries as `pipelines.samples` describes them, evenly spread over the shoppers.

    Only queries with 25 candidates at most are taken, to keep the file small.
    """
    small = np.flatnonzero(np.bincount(test.queries.group) <= 25)
    spread = small[np.linspace(0, len(small) - 1, min(count, len(small))).astype(np.int64)]
    return [_request(test, int(query)) for query in spread]


def _request(test: Examples, query: int) -> dict[str, Any]:
    asked = test.queries
    rows = np.flatnonzero(asked.group == query)
    values: Mapping[str, list[float]] = {
        name: [float(value) for value in test.features[rows, place]] for place, name in enumerate(FEATURES)
    }
    return {
        "unit": str(asked.customer[query]),
        "context": {name: values[name][0] for name in CONTEXT},
        "candidates": {
            "item_ids": [int(product) for product in asked.product[rows]],
            "features": {name: values[name] for name in CANDIDATE},
        },
        "outcome": [int(product) for product in asked.product[rows][asked.bought[rows]]],
    }


@dataclass(frozen=True)
class _Trained:
    kind: str
    framework: str
    graph: Graph
    scores: Floats
    """What the framework answers for the held-out candidates."""


@dataclass(frozen=True)
class _Checked:
    trained: _Trained
    model: onnx.ModelProto
    metrics: dict[str, float]
    difference: float


def _check(trained: _Trained, test: Examples, baselines: Mapping[str, Mapping[str, float]]) -> _Checked:
    found = measure(test, trained.scores)
    require_better(MODEL, found, baselines, higher_is_better=True)
    model = trained.graph.close(MODEL, SIGNATURE)
    difference = export.verify(
        model, {"features": test.features}, {"score": trained.scores}, relative=0.0, absolute=ABSOLUTE_TOLERANCE
    )
    return _Checked(trained, model, found, difference)


def _publish(store: Path, checked: _Checked, baselines: Mapping[str, Mapping[str, float]], label: str) -> Result:
    kind = checked.trained.kind
    manifest, size = export.release(
        store,
        checked.model,
        (label,),
        model=MODEL,
        task=Task.RANKING,
        signature=SIGNATURE,
        owner="turnout pipelines",
        description=f"Ranks a subclass's products for a shopper: {kind}.",
        lineage=Lineage(
            framework=checked.trained.framework,
            data=TA_FENG.describe(),
            code=export.revision("ranking", "choices", "export", "metrics"),
            metrics=checked.metrics,
            baseline=dict(baselines[STATED]),
            notes=f"Trained on {TRAIN_QUERIES} queries of January 2001, held out {TEST_QUERIES} of February, seed "
            f"{SEED}. A query is a shopper, a day and a subclass; its candidates are the subclass's 50 best sellers "
            "before the month, at least 10, of which the shopper took one. Features see only earlier days. "
            f"Baseline: {STATED}. ONNX Runtime against the framework on all held-out candidates: "
            f"scores at most {checked.difference:.2g} apart, tolerance {ABSOLUTE_TOLERANCE:g}.",
        ),
    )
    return Result(
        model=MODEL,
        version=manifest.version,
        kind=kind,
        metrics=checked.metrics,
        baselines=baselines,
        size=size,
        difference=checked.difference,
        labels=(label,),
    )


def _pointwise(train: Examples, test: Examples) -> _Trained:
    from skl2onnx import to_onnx
    from sklearn.ensemble import HistGradientBoostingClassifier

    trees = 40
    model = HistGradientBoostingClassifier(
        max_iter=trees, max_leaf_nodes=15, learning_rate=0.15, early_stopping=False, random_state=SEED
    )
    model.fit(train.features, train.queries.bought)
    options = {"zipmap": False, "raw_scores": True}
    exported = to_onnx(model, train.features[:1], target_opset=dict(export.OPSETS), options={id(model): options})
    graph = Graph()
    # Raw scores have one column a class, (-score, score) or only the second, as the converter likes: take the last.
    both = graph.splice(exported, _front(graph), output="probabilities")
    last = graph.add("Gather", both, graph.constant(np.int64(-1)), axis=1)
    export.flatten(graph, last, output="score")
    return _Trained(
        kind=f"scikit-learn gradient boosting, pointwise, {trees} trees",
        framework=export.framework("scikit-learn", "skl2onnx"),
        graph=graph,
        scores=model.decision_function(test.features),
    )


def _lambdamart(train: Examples, test: Examples) -> _Trained:
    from lightgbm import LGBMRanker
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    trees = 80
    model = LGBMRanker(
        n_estimators=trees,
        num_leaves=15,
        learning_rate=0.15,
        min_child_samples=100,
        lambdarank_truncation_level=20,
        n_jobs=2,
        random_state=SEED,
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
    )
    model.fit(train.features, train.queries.bought.astype(np.int64), group=np.bincount(train.queries.group))
    shape = [("features", FloatTensorType([None, len(FEATURES)]))]
    graph = Graph()
    answer = graph.splice(convert_lightgbm(model, initial_types=shape, target_opset=15), _front(graph))
    export.flatten(graph, answer, output="score")
    return _Trained(
        kind=f"LightGBM LambdaMART, {trees} trees",
        framework=export.framework("lightgbm", "onnxmltools"),
        graph=graph,
        scores=np.asarray(model.predict(test.features), dtype=np.float64),
    )


def _front(graph: Graph) -> str:
    return export.fill_missing(graph, "features", list(FEATURES.values()))


def _sample(every: Queries, count: int) -> Queries:
    chosen = np.random.default_rng(SEED).choice(len(every.customer), min(count, len(every.customer)), replace=False)
    return every.select(np.sort(chosen))
