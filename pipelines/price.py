"""Price of a diamond, with an interval around it.

Version 1 is scikit-learn's histogram gradient boosting; its interval has the same relative width everywhere, by split
conformal prediction (Lei et al. 2018). Version 2 is LightGBM with two quantile models, widened by what calibration asks
for (conformalized quantile regression, Romano et al. 2019); its interval is wide where prices vary. Both learn the
logarithm of the price, and both graphs take the raw columns: strings become ordinals inside, an unknown string counts
as the most common one, a NaN as the median.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx

from pipelines import export, metrics, samples
from pipelines.export import Array, Graph
from pipelines.report import Result, Say, ignore, require_better
from pipelines.sources import DIAMONDS, Floats, Ints, Strings, diamonds, distinct
from turnout_server.store.manifest import Lineage
from turnout_server.tasks.features import MAX_ROWS
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task

MODEL = "price"
SEED = 7
NOMINAL = 0.80
"""The share of true prices that the interval is meant to hold."""
RELATIVE_TOLERANCE = 1e-4
STATED = "ridge on logarithms"
"""The strongest of the baselines, which goes into the manifests."""
NUMBERS = ("carat", "depth", "table", "x", "y", "z")
ORDERS = {
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": ("J", "I", "H", "G", "F", "E", "D"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
}
"""The categories of each text column, worst first."""
FEATURES = (*NUMBERS, *ORDERS)


@dataclass(frozen=True)
class Diamonds:
    """A table of diamonds."""

    columns: Mapping[str, Array]
    """float32 or str, each of shape [rows]."""
    price: Floats
    """US dollars, shape [rows]."""

    def select(self, rows: Ints) -> Diamonds:
        """Return only *rows*."""
        return Diamonds({name: column[rows] for name, column in self.columns.items()}, self.price[rows])

    def matrix(self) -> Array:
        """Return the columns as the trees see them, float32 [rows, features], text as ordinals."""
        ordinals = [ordinal(self.columns[name], order) for name, order in ORDERS.items()]
        return np.stack([*(self.columns[name] for name in NUMBERS), *ordinals], axis=1).astype(np.float32)

    def feed(self) -> dict[str, Array]:
        """Return the columns as the graph takes them, each of shape [rows, 1]."""
        typed = {name: column if name in NUMBERS else column.astype(object) for name, column in self.columns.items()}
        return {name: column[:, None] for name, column in typed.items()}


def build(store: Path, say: Say = ignore) -> list[Result]:
    """Train, check and publish both versions into *store*.

    Raises:
        SourceError: the data cannot be had.
        PipelineError: a version does not beat the baselines, or its export is not what was trained.
    """
    say("reading the diamonds")
    table = load(distinct(diamonds()))
    train, calibration, test = split(table)
    say("fitting the baselines")
    baselines = _baselines(train, test)
    say("training scikit-learn's histogram gradient boosting")
    first = _boosted(train, calibration, test)
    say("training LightGBM, the price and two quantiles")
    second = _quantiles(train, calibration, test)
    signature = _signature(train)
    say("verifying both exports")
    checked = [_check(trained, test, baselines, signature) for trained in (first, second)]
    say("publishing")
    lineage = Lineage(
        data=f"{DIAMONDS.describe()}; repeated rows dropped, {len(table.price)} left",
        code=export.revision("price", "export", "metrics"),
        baseline=baselines[STATED],
    )
    results = [
        _publish(store, one, signature, lineage, baselines, label)
        for one, label in zip(checked, ("champion", "challenger"), strict=True)
    ]
    samples.write(store, MODEL, Task.PRICE, FEATURES, requests(test, 50))
    return results


def load(table: Mapping[str, Strings]) -> Diamonds:
    """Type the columns of the file."""
    columns: dict[str, Array] = {name: table[name].astype(np.float32) for name in NUMBERS}
    return Diamonds(columns | {name: table[name] for name in ORDERS}, table["price"].astype(np.float64))


def split(table: Diamonds) -> tuple[Diamonds, Diamonds, Diamonds]:
    """Return train (70 %), calibration (10 %) and test (20 %), at random but the same every time."""
    order = np.random.default_rng(SEED).permutation(len(table.price))
    test, calibration = len(order) // 5, len(order) // 10
    return (
        table.select(order[test + calibration :]),
        table.select(order[test : test + calibration]),
        table.select(order[:test]),
    )


def ordinal(values: Array, order: tuple[str, ...]) -> Array:
    """Return each value's place in *order* as float32, NaN for a value that is not in it."""
    places = {name: float(place) for place, name in enumerate(order)}
    return np.array([places.get(str(value), np.nan) for value in values], dtype=np.float32)


def conformal_margin(misses: Floats, level: float) -> float:
    """Return how much wider an interval must be on either side to hold a new truth with probability *level* at least.

    Args:
        misses: how far each of n calibration truths lies outside its interval, negative inside, shape [n]; with a point
            for an interval, the absolute residuals.
        level: between 0 and 1.

    Returns:
        The ceil((n + 1) * level)-th smallest miss (Romano et al. 2019, equation 6); infinity when n is too small.
    """
    place = int(np.ceil((len(misses) + 1) * level))
    return float(np.sort(misses)[place - 1]) if place <= len(misses) else float("inf")


def requests(test: Diamonds, count: int) -> list[dict[str, Any]]:
    """Return *count* held-out diamonds as `pipelines.samples` describes them; the shoppers are made up."""
    return [
        {
            "unit": f"shopper-{row}",
            "features": {name: _plain(test.columns[name][row]) for name in FEATURES},
            "outcome": float(test.price[row]),
        }
        for row in range(count)
    ]


@dataclass(frozen=True)
class _Trained:
    kind: str
    framework: str
    graph: Graph
    answers: dict[str, Array]
    """What the framework answers for the held-out rows: price, low and high."""


@dataclass(frozen=True)
class _Checked:
    trained: _Trained
    model: onnx.ModelProto
    metrics: dict[str, float]
    difference: float


def _check(
    trained: _Trained, test: Diamonds, baselines: Mapping[str, Mapping[str, float]], signature: Signature
) -> _Checked:
    found = _measure(test, trained.answers)
    require_better(MODEL, found, baselines, higher_is_better=False)
    model = trained.graph.close(MODEL, signature)
    difference = export.verify(model, test.feed(), trained.answers, relative=RELATIVE_TOLERANCE, absolute=0.0)
    return _Checked(trained, model, found, difference)


def _publish(
    store: Path,
    checked: _Checked,
    signature: Signature,
    lineage: Lineage,
    baselines: Mapping[str, Mapping[str, float]],
    label: str,
) -> Result:
    kind = checked.trained.kind
    manifest, size = export.release(
        store,
        checked.model,
        (label,),
        model=MODEL,
        task=Task.PRICE,
        signature=signature,
        owner="turnout pipelines",
        description=f"Price of a diamond in US dollars with an interval for {NOMINAL:.0%}: {kind}.",
        lineage=msgspec.structs.replace(
            lineage,
            framework=checked.trained.framework,
            metrics=checked.metrics,
            notes=f"Held out: a random fifth, seed {SEED}. Baseline: {STATED}. "
            f"The interval's nominal level is {NOMINAL}. ONNX Runtime against the framework on the held-out rows: "
            f"at most {checked.difference:.2g} US dollars apart, tolerance {RELATIVE_TOLERANCE:g} of the value.",
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


def _boosted(train: Diamonds, calibration: Diamonds, test: Diamonds) -> _Trained:
    from skl2onnx import to_onnx
    from sklearn.ensemble import HistGradientBoostingRegressor

    trees = 100
    model = HistGradientBoostingRegressor(
        max_iter=trees, max_leaf_nodes=15, learning_rate=0.15, early_stopping=False, random_state=SEED
    )
    model.fit(train.matrix(), np.log(train.price))
    margin = conformal_margin(np.abs(np.log(calibration.price) - model.predict(calibration.matrix())), NOMINAL)
    log_price = model.predict(test.matrix())

    graph = Graph()
    features = _front(graph, train)
    answer = graph.splice(to_onnx(model, train.matrix()[:1], target_opset=dict(export.OPSETS)), features)
    _back(graph, answer, answer, answer, margin)
    return _Trained(
        kind=f"scikit-learn gradient boosting, {trees} trees, conformal interval",
        framework=export.framework("scikit-learn", "skl2onnx"),
        graph=graph,
        answers=_answers(log_price, log_price, log_price, margin),
    )


def _quantiles(train: Diamonds, calibration: Diamonds, test: Diamonds) -> _Trained:
    from lightgbm import LGBMRegressor
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    tail = (1 - NOMINAL) / 2
    bound: dict[str, Any] = {"objective": "quantile", "n_estimators": 60, "num_leaves": 31, "learning_rate": 0.2}
    wanted: dict[str, dict[str, Any]] = {
        "price": {"objective": "regression", "n_estimators": 100, "num_leaves": 31, "learning_rate": 0.15},
        "low": {**bound, "alpha": tail},
        "high": {**bound, "alpha": 1 - tail},
    }
    graph = Graph()
    features = _front(graph, train)
    matrix, target = train.matrix(), np.log(train.price)
    predicted, calibrated, answers = {}, {}, {}
    for name, options in wanted.items():
        model = LGBMRegressor(
            **options, n_jobs=2, random_state=SEED, deterministic=True, force_row_wise=True, verbose=-1
        )
        model.fit(matrix, target)
        predicted[name] = np.asarray(model.predict(test.matrix()))
        calibrated[name] = np.asarray(model.predict(calibration.matrix()))
        shape = [("features", FloatTensorType([None, len(FEATURES)]))]
        answers[name] = graph.splice(convert_lightgbm(model, initial_types=shape, target_opset=15), features)
    truth = np.log(calibration.price)
    margin = conformal_margin(np.maximum(calibrated["low"] - truth, truth - calibrated["high"]), NOMINAL)
    _back(graph, answers["price"], answers["low"], answers["high"], margin)
    return _Trained(
        kind="LightGBM, 100 trees, conformalized 10 % and 90 % quantile models of 60 trees each",
        framework=export.framework("lightgbm", "onnxmltools"),
        graph=graph,
        answers=_answers(predicted["price"], predicted["low"], predicted["high"], margin),
    )


def _front(graph: Graph, train: Diamonds) -> str:
    """Turn the graph's inputs into the matrix that the trees take and return its name."""
    missing = float("nan")
    ordinals = [
        graph.add(
            "LabelEncoder",
            name,
            domain="ai.onnx.ml",
            keys_strings=list(order),
            values_floats=[float(place) for place in range(len(order))],
            default_float=missing,
        )
        for name, order in ORDERS.items()
    ]
    features = graph.add("Concat", *NUMBERS, *ordinals, axis=1)
    defaults = _defaults(train)
    places = [ORDERS[name].index(str(value)) if name in ORDERS else float(value) for name, value in defaults.items()]
    return export.fill_missing(graph, features, places)


def _back(graph: Graph, answer: str, low: str, high: str, margin: float) -> None:
    """End the graph: from logarithms to US dollars, and low <= price <= high whatever the models say."""
    wider = graph.constant(np.float32(margin))
    low = graph.add("Min", graph.add("Sub", low, wider), answer)
    high = graph.add("Max", graph.add("Add", high, wider), answer)
    for name, logarithm in (("price", answer), ("low", low), ("high", high)):
        export.flatten(graph, graph.add("Exp", logarithm), output=name)


def _answers(log_price: Floats, low: Floats, high: Floats, margin: float) -> dict[str, Array]:
    """Do with the framework's answers what `_back` does in the graph."""
    low, high = np.minimum(low - margin, log_price), np.maximum(high + margin, log_price)
    return {"price": np.exp(log_price), "low": np.exp(low), "high": np.exp(high)}


def _measure(test: Diamonds, answers: Mapping[str, Array]) -> dict[str, float]:
    return {
        "rmse": metrics.rmse(test.price, answers["price"]),
        "mae": metrics.mae(test.price, answers["price"]),
        "interval_coverage": metrics.coverage(test.price, answers["low"], answers["high"]),
        "interval_width": float(np.mean(answers["high"] - answers["low"])),
    }


def _baselines(train: Diamonds, test: Diamonds) -> dict[str, dict[str, float]]:
    from sklearn.linear_model import Ridge

    ridge = Ridge().fit(_one_hot(train), train.price).predict(_one_hot(test))
    log_ridge = np.exp(Ridge().fit(_one_hot(train, log=True), np.log(train.price)).predict(_one_hot(test, log=True)))
    mean = np.full(len(test.price), train.price.mean())
    return {
        name: {"rmse": metrics.rmse(test.price, guess), "mae": metrics.mae(test.price, guess)}
        for name, guess in (("mean", mean), ("ridge", ridge), (STATED, log_ridge))
    }


def _one_hot(table: Diamonds, *, log: bool = False) -> Array:
    """Return the columns as ridge takes them, a 0 or 1 for each category; with *log*, carat as its logarithm."""
    numbers = [table.columns[name][:, None] for name in NUMBERS]
    if log:
        numbers[0] = np.log(numbers[0])
    flags = [table.columns[name][:, None] == np.array(order) for name, order in ORDERS.items()]
    return np.concatenate([*numbers, *flags], axis=1).astype(np.float64)


def _signature(train: Diamonds) -> Signature:
    defaults = _defaults(train)
    return Signature(
        inputs=tuple(
            TensorSpec(name, DType.BYTES if name in ORDERS else DType.FP32, (-1, 1), default=defaults[name])
            for name in FEATURES
        ),
        outputs=tuple(TensorSpec(name, DType.FP32, (-1,)) for name in ("price", "low", "high")),
        max_rows=MAX_ROWS,
        max_elements=MAX_ROWS * len(FEATURES),
    )


def _defaults(train: Diamonds) -> dict[str, float | str]:
    """Return each number's median, with the digits of the data, and each text column's most common value."""
    defaults: dict[str, float | str] = {name: round(float(np.median(train.columns[name])), 2) for name in NUMBERS}
    for name in ORDERS:
        values, counts = np.unique(train.columns[name], return_counts=True)
        defaults[name] = str(values[np.argmax(counts)])
    return defaults


def _plain(value: Any) -> float | str:
    return str(value) if isinstance(value, str) else float(value)
