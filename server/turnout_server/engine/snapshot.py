"""What the native data plane has to know, as JSON: what names mean at one moment, and what a version takes and gives.

Everything is resolved here, so that the engine reads no labels, adds no weights and hashes no constants. Its side is
`engine/src/decide/document.rs` and `engine/src/oip/signature.rs`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from turnout_server.routing.route import Experiment, Target
from turnout_server.routing.table import CompiledRoute
from turnout_server.routing.view import View
from turnout_server.tasks import features
from turnout_server.tasks.features import Feature
from turnout_server.vocabulary.errors import InvalidModelError
from turnout_server.vocabulary.signature import Range, Signature, TensorSpec


def names(view: View, stored: Collection[str], available: Mapping[str, Sequence[int]]) -> bytes:
    """Return what names mean now: all that deciding needs.

    Args:
        view: the route table, and the version that each label gets.
        stored: the names of the store's models.
        available: the versions that can answer, by model.
    """
    known = sorted({*stored, *(model for model, versions in available.items() if versions)})
    return msgspec.json.encode(
        {
            "digest": view.table.digest,
            "routes": [_route(view, route) for route in view.table],
            "models": [
                {
                    "name": model,
                    "available": sorted(available.get(model, ())),
                    "labels": dict(view.labels.get(model, {})),
                }
                for model in known
            ],
        }
    )


def signature(given: Signature) -> bytes:
    """Return what a version takes and gives."""
    return msgspec.json.encode(
        {
            "inputs": [_tensor(spec) for spec in given.inputs],
            "outputs": [_tensor(spec) for spec in given.outputs],
            "ranges": _ranges(given),
            "batched": given.batched,
            "max_rows": given.max_rows,
            "max_elements": given.max_elements,
            "features": _features(given),
        }
    )


def _ranges(given: Signature) -> list[Range | None]:
    """Return between what each feature was in training, of the inputs that are features."""
    try:
        return [one.range for each in features.featured(given).inputs for one in each.features]
    except InvalidModelError:
        return []


def _features(given: Signature) -> list[dict[str, Any] | None] | None:
    """Return which features each input consists of, None for one that is none; None where a default is none."""
    try:
        taken = features.featured(given)
        parts: dict[str, dict[str, Any]] = {
            each.name: {
                "rows": each.rows,
                "tail": each.tail,
                "features": [{"name": one.name, "default": _default(one)} for one in each.features],
            }
            for each in taken.inputs
        }
    except (InvalidModelError, UnicodeEncodeError):
        return None
    return [parts.get(spec.name) for spec in given.inputs]


def _default(feature: Feature) -> str | None:
    """Return a default's bytes, as the graph takes them, in hexadecimal."""
    if feature.default is None:
        return None
    value = feature.default[0]
    return (value.encode() if isinstance(value, str) else value.tobytes()).hex()


def _route(view: View, compiled: CompiledRoute) -> dict[str, Any]:
    route = compiled.route
    places = {target.name: index for index, target in enumerate(route.targets)}
    return {
        "name": compiled.name,
        "task": route.task,
        "salt": route.salt,
        "epoch": view.epoch_of(compiled.name),
        "mirrors": [mirror.fraction for mirror in route.mirrors],
        "total": math.fsum(target.weight for target in route.targets if target.weight > 0),
        "targets": [_target(view, compiled, target) for target in route.targets],
        "overrides": [
            {
                "headers": {name: _sendable(value) for name, value in rule.when.header.items()},
                "units": [_sendable(unit) for unit in rule.when.unit],
                "target": places[rule.target],
            }
            for rule in route.overrides
        ],
        "fallback": None if compiled.fallback is None else places[compiled.fallback.name],
        # An engine from before there were experiments takes tables without, and refuses others rather than serve them.
        **({} if route.experiment is None else {"experiment": _experiment(compiled, route.experiment, places)}),
    }


def _experiment(compiled: CompiledRoute, experiment: Experiment, places: Mapping[str, int]) -> dict[str, Any]:
    layer = compiled.layer
    return {
        "name": experiment.name,
        "control": places[experiment.control],
        "layer": layer and {"name": experiment.layer, "salt": layer.salt, "holdout": layer.holdout},
        "buckets": experiment.buckets,
        "enrolment": experiment.enrolment,
    }


def _target(view: View, compiled: CompiledRoute, target: Target) -> dict[str, Any]:
    key = view.key_of(target.model, target.version)
    return {
        "name": target.name,
        "model": target.model,
        "version": None if key is None else key.version,
        "weight": target.weight,
        "propensity": compiled.propensities[target.name],
    }


def _sendable(text: str) -> str | None:
    """Return *text*; None for one with half a surrogate pair, which YAML can hold and no request."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return None
    return text


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype.value, "shape": spec.shape}
