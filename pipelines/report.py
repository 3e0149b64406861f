"""What a pipeline hands back, what makes a result acceptable, and the README's table of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Say = Callable[[str], None]
"""Told, in a few words, what a pipeline does next."""


class PipelineError(Exception):
    """A model is not good enough, or its export is not the model that was trained."""


@dataclass(frozen=True)
class Result:
    """One published version: how it did on the held-out split, and how its baselines did there."""

    model: str
    version: int
    kind: str
    """What it is, in a few words: `LightGBM lambdarank, 80 trees`."""
    metrics: Mapping[str, float]
    """By name, best known first: the first one must beat every baseline."""
    baselines: Mapping[str, Mapping[str, float]]
    """By the baseline's name, then by the metric's; a baseline has at least the first metric."""
    size: int
    """Of the ONNX file, in bytes."""
    difference: float
    """Largest difference between ONNX Runtime's output and the framework's on the held-out split."""
    labels: tuple[str, ...] = ()


def ignore(_: str) -> None:
    """Listen to nothing; the default `Say`."""


def require_better(
    model: str, metrics: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]], *, higher_is_better: bool
) -> None:
    """Check that the first of *metrics* beats every one of *baselines*.

    Raises:
        PipelineError: it does not, or there is nothing to compare with.
    """
    if not baselines:
        raise PipelineError(f"{model}: no baseline to beat")
    name, value = next(iter(metrics.items()))
    for baseline, known in baselines.items():
        other = known[name]
        if not (value > other if higher_is_better else value < other):
            raise PipelineError(f"{model}: {name} is {value:.4g}, no better than {baseline}'s {other:.4g}")


def table(results: Sequence[Result]) -> str:
    """Return the README's Markdown table: one line a version, each model's baselines under its versions."""
    lines = ["| model | what | labels | held out | size |", "|---|---|---|---|---|"]
    for model in dict.fromkeys(result.model for result in results):
        mine = [result for result in results if result.model == model]
        for result in mine:
            labels = ", ".join(f"`{label}`" for label in result.labels)
            size = f"{result.size / 1000:.0f} kB"
            lines.append(
                f"| `{model}` {result.version} | {result.kind} | {labels} | {_cells(result.metrics)} | {size} |"
            )
        for name, metrics in mine[0].baselines.items():
            lines.append(f"| baseline | {name} | | {_cells(metrics)} | |")
    return "\n".join(lines)


def _cells(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {_figure(value)}" for name, value in metrics.items())


def _figure(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"
