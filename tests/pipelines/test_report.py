"""A model that is no better than its baseline is not published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import samples
from pipelines.report import PipelineError, Result, require_better, table


def test_a_better_model_passes() -> None:
    require_better("m", {"ndcg@10": 0.5}, {"popularity": {"ndcg@10": 0.4}}, higher_is_better=True)
    require_better("m", {"rmse": 0.5}, {"mean": {"rmse": 0.6}}, higher_is_better=False)


@pytest.mark.parametrize(("value", "higher"), [(0.4, True), (0.39, True), (0.4, False), (0.41, False)])
def test_a_model_that_beats_not_every_baseline_is_refused(value: float, higher: bool) -> None:
    easy = {"x": -1.0 if higher else 1.0}
    with pytest.raises(PipelineError, match=r"m: x is .*, no better than hard's 0\.4"):
        require_better("m", {"x": value}, {"easy": easy, "hard": {"x": 0.4}}, higher_is_better=higher)


def test_a_metric_that_is_no_number_is_refused() -> None:
    with pytest.raises(PipelineError, match="m: x is nan"):
        require_better("m", {"x": float("nan")}, {"easy": {"x": -1.0}}, higher_is_better=True)


def test_nothing_to_compare_with_is_refused() -> None:
    with pytest.raises(PipelineError, match="no baseline"):
        require_better("m", {"x": 1.0}, {}, higher_is_better=True)


def test_the_table_has_a_line_a_version_and_a_line_a_baseline() -> None:
    results = [
        Result("price", version, "trees", {"rmse": 576.4}, {"mean": {"rmse": 4034.2}}, 108_000, 0.0, ("champion",))
        for version in (1, 2)
    ]
    assert table(results).splitlines()[2:] == [
        "| `price` 1 | trees | `champion` | rmse 576 | 108 kB |",
        "| `price` 2 | trees | `champion` | rmse 576 | 108 kB |",
        "| baseline | mean | | rmse 4,034 | |",
    ]


def test_samples_are_short_json(tmp_path: Path) -> None:
    request = {"unit": "u", "features": {"a": [0.123456, 4710199010372.0], "b": "x"}, "outcome": [4710199010372]}
    file = samples.write(tmp_path, "price", "price", ["a", "b"], [request, request])
    read = json.loads(file.read_text())
    short = {"unit": "u", "features": {"a": [0.1235, 4710199010372.0], "b": "x"}, "outcome": [4710199010372]}
    assert read == {"task": "price", "features": ["a", "b"], "requests": [short, short]}
