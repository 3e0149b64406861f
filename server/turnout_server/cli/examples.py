"""A request that a route's models accept, in three languages, made from their signatures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from turnout_server.cli.options import scalar
from turnout_server.store.manifest import Manifest
from turnout_server.vocabulary.signature import DType, Scalar, TensorSpec
from turnout_server.vocabulary.task import Task

UNIT = "customer-7"
_OPTIONAL_SHOWN = 3
"""How many features that have defaults an example shows; the rest may be left out."""


class Example(NamedTuple):
    """One request."""

    method: str
    """For grpcurl: `turnout.v1.PricingService/PredictPrice`."""
    request: dict[str, Any]
    """For grpcurl: the message as JSON."""
    expression: str
    """For Python: a call on `turnout.Client(...)`."""
    arguments: list[str]
    """For `turnout call`, unquoted."""


class _Feature(NamedTuple):
    name: str
    value: Scalar
    required: bool


def example(route: str, manifests: Sequence[Manifest]) -> Example | None:
    """Return a request for *route* that each of its versions (*manifests*, not empty) answers.

    None where a model has to be given a whole tensor, which nobody would want to read or write here.
    """
    return _MAKERS[manifests[0].task](route, manifests)


def _price(route: str, manifests: Sequence[Manifest]) -> Example:
    row = {feature.name: feature.value for feature in _features(manifests)}
    return Example(
        "turnout.v1.PricingService/PredictPrice",
        {"selector": _selector(route), "features": [_column(name, [value]) for name, value in row.items()]},
        f"predict_price({_literal(route)}, {_literal(row)}, unit={_literal(UNIT)})",
        [route, *_options(row), "--unit", UNIT],
    )


def _ranking(route: str, manifests: Sequence[Manifest]) -> Example:
    row = {feature.name: feature.value for feature in _features(manifests)}
    higher = {name: value + 1 if isinstance(value, int | float) else value for name, value in row.items()}
    candidates = {"a": row, "b": higher}
    words = [f"{name}:{','.join(f'{k}={_word(v)}' for k, v in one.items())}" for name, one in candidates.items()]
    return Example(
        "turnout.v1.RankingService/Rank",
        {
            "selector": _selector(route),
            "candidateIds": list(candidates),
            "candidateFeatures": [_column(name, [row[name], higher[name]]) for name in row],
        },
        f"rank({_literal(route)}, {_literal(candidates)}, unit={_literal(UNIT)})",
        [route, *(word for one in words for word in ("--candidate", one)), "--unit", UNIT],
    )


def _recommendation(route: str, manifests: Sequence[Manifest]) -> Example:
    # No id is known to be in the catalogue, and none has to be.
    return Example(
        "turnout.v1.RecommendationService/Recommend",
        {"selector": _selector(route), "historyItemIds": ["1", "2"], "topK": 5},
        f"recommend({_literal(route)}, {_literal(['1', '2'])}, k=5, unit={_literal(UNIT)})",
        [route, "--history", "1,2", "-k", "5", "--unit", UNIT],
    )


def _tensors(route: str, manifests: Sequence[Manifest]) -> Example | None:
    if any(_is_whole(spec) for manifest in manifests for spec in manifest.signature.inputs):
        return None
    row = {feature.name: feature.value for feature in _features(manifests)}
    return Example(
        "turnout.v1.InferenceService/Infer",
        {"selector": _selector(route), "features": [_column(name, [value]) for name, value in row.items()]},
        f"infer({_literal(route)}, {_literal(row)}, unit={_literal(UNIT)})",
        [route, *_options(row), "--unit", UNIT],
    )


def _is_whole(spec: TensorSpec) -> bool:
    """Say whether an input must be given, and takes no features."""
    is_feature = bool(spec.columns) or spec.shape in ((-1,), (-1, 1)) or all(size == 1 for size in spec.shape)
    return spec.default is None and not is_feature


def _options(row: dict[str, Scalar]) -> list[str]:
    return [word for name, value in row.items() for word in ("--feature", f"{name}={_word(value)}")]


_MAKERS: dict[Task, Callable[[str, Sequence[Manifest]], Example | None]] = {
    Task.TENSORS: _tensors,
    Task.PRICE: _price,
    Task.RANKING: _ranking,
    Task.RECOMMENDATION: _recommendation,
}


def _features(manifests: Sequence[Manifest]) -> list[_Feature]:
    """Return the features that any version requires, and a few that all of them know."""
    known = [{feature.name: feature for feature in _of(manifest)} for manifest in manifests]
    required = {name: one for features in known for name, one in features.items() if one.required}
    shared = [one for name, one in known[0].items() if name not in required and all(name in other for other in known)]
    return [*required.values(), *shared[:_OPTIONAL_SHOWN]]


def _of(manifest: Manifest) -> list[_Feature]:
    found = []
    for spec in manifest.signature.inputs:
        named: list[tuple[str, Scalar | None]] = [(column.name, column.default) for column in spec.columns]
        for name, default in named or [(spec.name, spec.default)]:
            value = _made_up(spec.dtype) if default is None else default
            found.append(_Feature(name, _rounded(value), default is None))
    return found


def _made_up(dtype: DType) -> Scalar:
    if dtype is DType.BYTES:
        return "text"
    return 1.0 if dtype.startswith(("FP", "BF")) else 1


def _rounded(value: Scalar) -> Scalar:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _literal(value: Any) -> str:
    """Return *value* as Python source with double quotes only, so that it fits between a shell's single ones."""
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False)
        case dict():
            return "{" + ", ".join(f"{_literal(key)}: {_literal(one)}" for key, one in value.items()) + "}"
        case list():
            return f"[{', '.join(map(_literal, value))}]"
    return repr(value)


def _word(value: Scalar) -> str:
    """Return *value* as `turnout call` reads it back: text that looks like a number is quoted."""
    return value if isinstance(value, str) and isinstance(scalar(value), str) else json.dumps(value)


def _selector(route: str) -> dict[str, str]:
    return {"name": route, "unit": UNIT}


def _column(name: str, values: list[Scalar]) -> dict[str, Any]:
    if any(isinstance(value, str) for value in values):
        return {"name": name, "strings": {"values": values}}
    kind = "floats" if any(isinstance(value, float) for value in values) else "integers"
    return {"name": name, kind: {"values": [value if isinstance(value, float) else int(value) for value in values]}}
