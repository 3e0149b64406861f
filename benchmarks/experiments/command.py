"""`python -m benchmarks experiments`: from the simulations to the report.

Seeds are fixed: as many runs give the same report again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.experiments import plots, report, trials
from benchmarks.experiments.report import Cell, Results
from benchmarks.experiments.trials import METRICS, SHARES, TIMES, Found
from benchmarks.options import OUTPUT, above_0

RUNS, QUICK_RUNS = 1000, 50


def main(arguments: Sequence[str]) -> int:
    """Simulate what *arguments* ask for, print the tables, and draw them; return the exit code."""
    wanted = _parser().parse_args(arguments)
    runs = wanted.runs or (QUICK_RUNS if wanted.quick else RUNS)
    results = simulated(runs)
    text = report.as_markdown(results)
    print(text)
    wanted.output.mkdir(parents=True, exist_ok=True)
    (wanted.output / "experiments.md").write_text(text + "\n", encoding="utf-8")
    for path in (wanted.output / "experiments.md", *plots.draw(results, wanted.output)):
        print(path, file=sys.stderr)
    return 0


def simulated(runs: int) -> Results:
    """Return the results of so many experiments a cell, simulated on all processors."""
    cells = list(product(METRICS, SHARES))
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(_cell, cells, [runs] * len(cells)))
    alarms, covered, decided = zip(*found, strict=True)
    return Results(
        runs,
        dict(zip(cells, alarms, strict=True)),
        dict(zip(cells, covered, strict=True)),
        dict(zip(cells, decided, strict=True)),
    )


def _cell(cell: Cell, runs: int) -> tuple[dict[str, np.ndarray], dict[float, float], dict[float, Found]]:
    name, share = cell
    metric = METRICS[name]
    found = {times: trials.decided(metric, share, times, runs) for times in TIMES}
    covered = {times: trials.covered(metric, share, times, runs) for times in TIMES}
    return trials.alarms(metric, share, runs), covered, found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks experiments", description="Look at simulated experiments after every batch."
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RUNS} experiments a cell")
    parser.add_argument("--runs", type=above_0(int), metavar="N", help=f"experiments a cell; {RUNS}")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR")
    return parser
