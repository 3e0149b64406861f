"""Simulated experiments: who is misled, when, and how it is told."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.experiments import report, trials
from benchmarks.experiments.report import Results
from benchmarks.experiments.trials import FIXED, METHODS, METRICS, OURS, SHARES, TEXTBOOK, TIMES, Found

RUNS = 40


def results(alarm: float = 0.5, decision: float = 120.0) -> Results:
    cells = [(metric, share) for metric in METRICS for share in SHARES]
    found = Found(100, np.array([decision, math.inf, 60.0]))
    return Results(
        3,
        {cell: {method: np.array([alarm, math.inf, math.inf]) for method in METHODS} for cell in cells},
        dict.fromkeys(cells, dict.fromkeys(TIMES, 0.75)),
        dict.fromkeys(cells, dict.fromkeys(TIMES, found)),
    )


def test_whoever_peeks_is_misled_unless_the_interval_allows_for_it() -> None:
    found = trials.alarms(METRICS["1 % convert"], 0.02, RUNS)
    misled = {method: np.isfinite(first).mean() for method, first in found.items()}
    assert misled[FIXED] > misled[TEXTBOOK] > 0.3
    assert misled[OURS] < 0.1


def test_a_larger_effect_is_found_sooner_and_the_largest_before_a_fixed_horizons_end() -> None:
    metric = METRICS["10 % convert"]
    medians = [np.median(found.units) / found.fixed for found in (trials.decided(metric, 0.5, t, RUNS) for t in TIMES)]
    assert medians == sorted(medians, reverse=True)
    assert medians[-1] < 0.7


def test_the_same_runs_are_the_same_report() -> None:
    once, again = (trials.decided(METRICS["revenue, all buy"], 0.1, 1.0, RUNS) for _ in range(2))
    assert once.fixed == again.fixed
    assert once.units.tolist() == again.units.tolist()


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_what_it_says(name: str) -> None:
    metric, units = METRICS[name], np.full(20, 50_000)
    total, squares = metric.lifted(0.2)(np.random.default_rng(7), units)
    mean = total.sum() / units.sum()
    assert mean == pytest.approx(1.2 * metric.mean, rel=0.03)
    if name.startswith("revenue"):
        assert squares.sum() / units.sum() - mean**2 == pytest.approx(1.44 * metric.variance, rel=0.2)


def test_the_report_says_who_was_misled_and_how_long_it_took() -> None:
    text = report.as_markdown(results())
    assert "| 1 % convert | 98:2 | 33.3% | 33.3% | 33.3% | 25.0% | 25.0% | 25.0% |" in text
    assert "| 1 % convert | 98:2 | +87% | 67%, 1.20 | 67%, 1.20 | 67%, 1.20 |" in text
    assert "33%, later" in report.as_markdown(results(decision=math.inf))


def drawing(name: str) -> Any:
    """Return a module that draws, or skip the test: only benchmarks have what it draws with."""
    pytest.importorskip("matplotlib", reason="matplotlib is among the benchmarks' requirements only")
    return importlib.import_module(f"benchmarks.experiments.{name}")


def test_pictures_of_the_same_results_are_the_same_files(tmp_path: Path) -> None:
    plots = drawing("plots")
    first, second = (tmp_path / name for name in "ab")
    for directory in (first, second):
        directory.mkdir()
        assert len(plots.draw(results(), directory)) == 2
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()


def test_the_command_prints_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = drawing("command")
    monkeypatch.setattr(command, "simulated", lambda runs: results()._replace(runs=runs))
    assert command.main(["--runs", "7", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("7 experiments a cell")
    assert (tmp_path / "experiments.md").read_text(encoding="utf-8") == printed
