"""Requests that are offered to be tried."""

from __future__ import annotations

import shlex
from typing import Any

from turnout_server.cli.examples import example
from turnout_server.store.manifest import Manifest
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task


def manifest(task: Task, *inputs: TensorSpec) -> Manifest:
    return Manifest(1, "m", 1, task, "2026-01-01T00:00:00Z", (), Signature(inputs, ()))


CARAT = TensorSpec("carat", DType.FP32, (-1,))
CUT = TensorSpec("cut", DType.BYTES, (-1,), default="7")
DEPTH = TensorSpec("m", DType.FP32, (-1, 2), columns=(Column("depth", 61.84999), Column("table")))


def made(*manifests: Manifest) -> Any:
    shown = example("r", manifests)
    assert shown is not None
    return shown


def test_every_versions_required_features_are_in_it() -> None:
    """Whichever version answers."""
    shown = made(manifest(Task.PRICE, CARAT, CUT, DEPTH), manifest(Task.PRICE, DEPTH, CUT))
    assert shown.request["features"] == [
        {"name": "carat", "floats": {"values": [1.0]}},
        {"name": "table", "floats": {"values": [1.0]}},
        {"name": "cut", "strings": {"values": ["7"]}},
        {"name": "depth", "floats": {"values": [61.85]}},
    ]
    assert shown.expression.startswith('predict_price("r", {"carat": 1.0,')
    assert 'cut="7"' in shown.arguments, "a text that looks like a number is quoted"


def test_a_ranking_has_two_candidates_that_differ() -> None:
    shown = made(manifest(Task.RANKING, CARAT))
    assert shown.request["candidateFeatures"] == [{"name": "carat", "floats": {"values": [1.0, 2.0]}}]
    assert shlex.join(shown.arguments) == "r --candidate a:carat=1.0 --candidate b:carat=2.0 --unit customer-7"


def test_a_recommendation_needs_no_known_item() -> None:
    assert made(manifest(Task.RECOMMENDATION)).request["historyItemIds"] == ["1", "2"]


def test_a_model_without_a_task_is_asked_by_its_inputs_names() -> None:
    shown = made(manifest(Task.TENSORS, CARAT, TensorSpec("k", DType.INT64, (1,)), CUT))
    assert shown.method == "turnout.v1.InferenceService/Infer"
    assert shown.expression == 'infer("r", {"carat": 1.0, "k": 1, "cut": "7"}, unit="customer-7")'
    words = "r --feature carat=1.0 --feature k=1 --feature 'cut=\"7\"' --unit customer-7"
    assert shlex.join(shown.arguments) == words


def test_whole_tensors_have_no_example() -> None:
    assert example("r", [manifest(Task.TENSORS, CARAT, TensorSpec("image", DType.UINT8, (-1, 8, 8)))]) is None
