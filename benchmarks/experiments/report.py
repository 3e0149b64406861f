"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.experiments.trials import ALPHA, LOOKS, METHODS, METRICS, POWER, TIMES, Found, planned
from benchmarks.text import table

Cell = tuple[str, float]
"""A metric and the share of the treatment."""


class Results(NamedTuple):
    """What was found, by cell."""

    runs: int
    alarms: Mapping[Cell, Mapping[str, np.ndarray]]
    """When each method first saw an effect between equal arms."""
    covered: Mapping[Cell, Mapping[float, float]]
    """How often the interval holds the true effect at every look, by that effect, in planned ones."""
    found: Mapping[Cell, Mapping[float, Found]]
    """By the true effect, in planned ones."""


def as_markdown(results: Results) -> str:
    """Return both tables, and what they say."""
    error = np.sqrt(ALPHA * (1 - ALPHA) / results.runs)
    return "\n".join(
        [
            f"{results.runs:,} experiments a cell, {LOOKS} looks each, alpha {ALPHA:.0%};"
            f" a share of {ALPHA:.0%} is known to {2 * error:.1%} either way.",
            "",
            "Experiments that ever see an effect between equal arms, and whose interval ever leaves out a true one:",
            "",
            _alarms(results),
            "",
            f"Planned for an effect that is found with {POWER:.0%}; units at the decision, in those that a"
            " fixed-horizon test planned for that effect must wait for:",
            "",
            _found(results),
        ]
    )


def _alarms(results: Results) -> str:
    heads = ["metric", "split", *METHODS, *(f"Turnout's misses {times:g} x the planned effect" for times in TIMES)]
    rows = [
        [
            *_named(cell),
            *(f"{np.isfinite(first[method]).mean():.1%}" for method in METHODS),
            *(f"{1 - results.covered[cell][times]:.1%}" for times in TIMES),
        ]
        for cell, first in results.alarms.items()
    ]
    return table(heads, rows)


def _found(results: Results) -> str:
    heads = ["metric", "split", "planned", *(f"{times:g} x that: found, median" for times in TIMES)]
    rows = [
        [*_named(cell), _planned(*cell), *(_median(found[times]) for times in TIMES)]
        for cell, found in results.found.items()
    ]
    return table(heads, rows)


def _planned(name: str, share: float) -> str:
    metric = METRICS[name]
    return f"{planned(metric, share) / metric.mean:+.0%}"


def _median(found: Found) -> str:
    middle = np.median(found.units) / found.fixed
    return f"{np.isfinite(found.units).mean():.0%}, {f'{middle:.2f}' if np.isfinite(middle) else 'later'}"


def _named(cell: Cell) -> tuple[str, str]:
    metric, share = cell
    return metric, f"{1 - share:.0%}:{share:.0%}".replace("%", "")
