"""One reload as a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # before pyplot: there may be no display

import matplotlib.pyplot as plt

from benchmarks.recorder import Calls
from benchmarks.reload.results import PHASES, Times

_DPI = 120
_COLOURS = {"before": "#ffffff", "publishing": "#edae49", "during": "#d1495b", "after": "#ffffff"}


def draw(calls: Calls, times: Times, path: Path) -> Path:
    """Write a picture of each of the neighbour's calls, by when it was due; return *path*."""
    figure, axis = plt.subplots(figsize=(11, 3.8), layout="constrained")
    axis.plot(calls.due - times.appeared, calls.took * 1e3, ".", markersize=2, color="#00798c")
    for name in PHASES:
        begin, end = times.phase(name)
        if _COLOURS[name] != "#ffffff":
            axis.axvspan(
                begin - times.appeared, end - times.appeared, color=_COLOURS[name], alpha=0.2, linewidth=0, label=name
            )
    axis.axvline(times.available - times.appeared, color="black", linewidth=0.8, linestyle=":", label="it serves")
    axis.set_yscale("log")
    axis.set_xlabel("seconds since the version appeared in the store")
    axis.set_ylabel("the neighbour's latency, ms")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)
    return path
