"""The results as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # before pyplot: there may be no display

import matplotlib.pyplot as plt

from benchmarks.overload.report import Run, series_of
from benchmarks.overload.results import medians

_DPI = 120
_OURS, _REFUSED, _NEIGHBOUR = "#d1495b", "#8d99ae", "#00798c"


def draw(run: Run, directory: Path) -> list[Path]:
    """Write one picture into *directory* for each series that has several loads; return their paths."""
    return [
        _draw(run, series, directory / f"overload-{series}.png") for series in series_of(run) if _several(run, series)
    ]


def _several(run: Run, series: str) -> bool:
    return len(medians(run.levels, series)) > 2


def _draw(run: Run, series: str, path: Path) -> Path:
    found = medians(run.levels, series)
    loads = list(found)
    figure, (rates, times) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    _line(rates, loads, [one["goodput"] for one in found.values()], _OURS, "answered")
    _line(rates, loads, [one["refused"] for one in found.values()], _REFUSED, "refused")
    rates.axhline(run.capacities.get(series, 0.0), color="black", linewidth=0.8, linestyle=":", label="capacity")
    rates.set_ylabel("calls a second")
    rates.set_ylim(bottom=0)
    _line(times, loads, [one["p50"] * 1e3 for one in found.values()], _OURS, "p50", linestyle="--")
    _line(times, loads, [one["p99"] * 1e3 for one in found.values()], _OURS, "p99")
    _line(times, loads, [one["neighbour p99"] * 1e3 for one in found.values()], _NEIGHBOUR, "the neighbour's p99")
    times.set_ylabel("latency of answered calls, ms")
    times.set_yscale("log")
    for axis in (rates, times):
        axis.set_xlabel("load, in capacities")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=9)
    figure.suptitle(run.titles[series], fontsize=10)
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)
    return path


def _line(axis: Any, loads: list[float], values: list[float], colour: str, label: str, linestyle: str = "-") -> None:
    axis.plot(loads, values, marker="o", markersize=4, color=colour, label=label, linestyle=linestyle)
