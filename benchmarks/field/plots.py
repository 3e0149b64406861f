"""The results as pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # before pyplot: there may be no display

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.field.report import TITLES, Run
from benchmarks.field.results import Cell, Spread, summaries

_COLOURS = {
    "turnout": "#d1495b",
    "portable": "#f4a6ae",
    "journal": "#9d0208",
    "traced-1": "#e07a5f",
    "traced": "#b56576",
    "one-shard": "#6d597a",
    "two-shards": "#355070",
    "floor": "#8d99ae",
    "onnxruntime": "#2b2d42",
    "triton": "#76b900",
    "mlserver": "#edae49",
    "kserve": "#00798c",
}
_DPI = 120

Summary = dict[Cell, dict[str, Spread]]


def draw(run: Run, directory: Path) -> list[Path]:
    """Write the pictures into *directory*; return their paths."""
    return [
        _figure(run, "throughput", 1.0, "answers a second", _lines, directory / "throughput.png"),
        _figure(run, "p99", 1e3, "p99, ms", _logarithmic_lines, directory / "p99.png"),
        _figure(run, "server_cpu", 1e6, "server CPU a call, µs", _bars, directory / "cpu.png"),
    ]


Draw = Callable[[Any, dict[int, dict[str, Spread]], list[str], float], None]


def _figure(run: Run, name: str, scale: float, label: str, fill: Draw, path: Path) -> Path:
    summary = summaries(run.samples, name)
    scenarios = list(dict.fromkeys(cell.scenario for cell in summary))
    columns = min(2, len(scenarios))
    rows = -(-len(scenarios) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5.5 * columns, 3.6 * rows), squeeze=False, layout="constrained")
    for index, axis in enumerate(axes.flat):
        if index >= len(scenarios):
            axis.set_axis_off()
            continue
        by_concurrency = {cell.concurrency: by for cell, by in summary.items() if cell.scenario == scenarios[index]}
        there = [server for server in run.servers if any(server in by for by in by_concurrency.values())]
        fill(axis, by_concurrency, there, scale)
        axis.legend(frameon=False, fontsize=8)
        axis.set_title(run.titles[scenarios[index]], fontsize=10)
        axis.set_xlabel("calls at once")
        axis.set_ylabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)
    return path


def _lines(axis: Any, by_concurrency: dict[int, dict[str, Spread]], servers: list[str], scale: float) -> None:
    """Draw the medians, with a band from the lowest to the highest."""
    for server in servers:
        points = [(concurrency, by[server]) for concurrency, by in by_concurrency.items() if server in by]
        places = [concurrency for concurrency, _ in points]
        lows, highs = ([getattr(found, end) * scale for _, found in points] for end in ("low", "high"))
        axis.fill_between(places, lows, highs, color=_COLOURS[server], alpha=0.15, linewidth=0)
        medians = [found.median * scale for _, found in points]
        axis.plot(places, medians, marker="o", markersize=4, color=_COLOURS[server], label=TITLES[server])
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(by_concurrency), list(map(str, by_concurrency)))
    axis.set_ylim(bottom=0)


def _logarithmic_lines(
    axis: Any, by_concurrency: dict[int, dict[str, Spread]], servers: list[str], scale: float
) -> None:
    _lines(axis, by_concurrency, servers, scale)
    axis.set_ylim(auto=True)
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_minor_locator(NullLocator())


def _bars(axis: Any, by_concurrency: dict[int, dict[str, Spread]], servers: list[str], scale: float) -> None:
    """Draw a group of bars for each concurrency."""
    width = 0.8 / len(servers)
    for index, server in enumerate(servers):
        found = {place: by[server] for place, by in enumerate(by_concurrency.values()) if server in by}
        places = [place + (index - (len(servers) - 1) / 2) * width for place in found]
        heights = [one.median * scale for one in found.values()]
        axis.bar(places, heights, width, color=_COLOURS[server], label=TITLES[server])
    axis.set_xticks(range(len(by_concurrency)), list(map(str, by_concurrency)))
