"""The results as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # before pyplot: there may be no display

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.experiments.report import Results
from benchmarks.experiments.trials import ALPHA, FIXED, METHODS, OURS, SHARES, TEXTBOOK

matplotlib.rcParams["svg.hashsalt"] = "turnout"  # the same results are the same file

_COLOURS = {FIXED: "#8d99ae", TEXTBOOK: "#edae49", OURS: "#d1495b"}
_STYLES = ("-", "--", ":")


def draw(results: Results, directory: Path) -> list[Path]:
    """Write both pictures into *directory*; return their paths."""
    metrics = list(dict.fromkeys(metric for metric, _ in results.alarms))
    return [
        _alarms(results, metrics, directory / "experiments-alarms.svg"),
        _found(results, metrics, directory / "experiments-found.svg"),
    ]


def _alarms(results: Results, metrics: Sequence[str], path: Path) -> Path:
    figure, grid = _grid(len(metrics), len(SHARES))
    for axes, metric in zip(grid, metrics, strict=True):
        for axis, share in zip(axes, SHARES, strict=True):
            for method in METHODS:
                _rising(axis, results.alarms[metric, share][method], 1.0, color=_COLOURS[method], label=method)
            axis.axhline(ALPHA, color="black", linewidth=0.8, linestyle=":")
            axis.set_title(f"{metric}, {share:.0%} treated", fontsize=9)
    return _saved(figure, grid, "units, in planned ones", "misled so far", path)


def _found(results: Results, metrics: Sequence[str], path: Path) -> Path:
    figure, grid = _grid(len(metrics), len(SHARES))
    for axes, metric in zip(grid, metrics, strict=True):
        for axis, share in zip(axes, SHARES, strict=True):
            of_cell: Mapping[float, Any] = results.found[metric, share]
            for style, (times, found) in zip(_STYLES, of_cell.items(), strict=True):
                at = found.units / found.fixed
                _rising(axis, at, 2.0, color=_COLOURS[OURS], linestyle=style, label=f"effect {times:g} x planned")
            axis.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
            axis.set_title(f"{metric}, {share:.0%} treated", fontsize=9)
    return _saved(figure, grid, "units, in a fixed-horizon test's", "found so far", path)


def _rising(axis: Any, at: np.ndarray, end: float, **style: Any) -> None:
    """Draw which share has happened by then."""
    happened = np.sort(at[np.isfinite(at)])
    shares = np.arange(1, len(happened) + 1) / len(at)
    axis.step(np.r_[0, happened, end], np.r_[0, shares, shares[-1:] if len(shares) else 0], where="post", **style)


def _grid(rows: int, columns: int) -> tuple[Any, np.ndarray]:
    figure, grid = plt.subplots(
        rows, columns, figsize=(11, 2.4 * rows), layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    return figure, grid


def _saved(figure: Any, grid: np.ndarray, below: str, beside: str, path: Path) -> Path:
    for axis in grid.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_ylim(bottom=0)
    figure.supxlabel(below, fontsize=9)
    figure.supylabel(beside, fontsize=9)
    grid.flat[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path
