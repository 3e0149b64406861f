"""Build every model into a store: `python -m pipelines --store DIR [--only recommendation,ranking,price]`.

Each pipeline trains, evaluates on a held-out split, exports, verifies and publishes two versions. In the end the
Markdown table of held-out metrics goes to standard output; everything else goes to standard error.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pipelines.report import PipelineError, Result, table
from pipelines.sources import SourceError
from turnout_server.vocabulary.errors import TurnoutError

MODELS = ("recommendation", "ranking", "price")
"""A model's name is its module's: `build(store, say)` there publishes it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the models that *arguments* ask for; return the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines", description="Train, check and publish the models.")
    parser.add_argument("--store", type=Path, required=True, metavar="DIR", help="the store to publish into")
    parser.add_argument("--only", type=_models, default=MODELS, metavar="NAMES", help=f"some of {','.join(MODELS)}")
    wanted = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    console = Console(stderr=True)
    try:
        results = _build(wanted.store, wanted.only, console)
    except (PipelineError, SourceError, TurnoutError) as error:
        console.print(f"failed: {error}", style="red", markup=False)
        return 1
    sys.stdout.write(table(results) + "\n")
    return 0


def _build(store: Path, models: Sequence[str], console: Console) -> list[Result]:
    results: list[Result] = []
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[model]:<15}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as progress:
        bars = {model: progress.add_task("waiting", total=1, start=False, model=model) for model in models}
        for model in models:
            bar = bars[model]
            progress.start_task(bar)  # its module is imported only now: a training library takes seconds to import
            started = time.monotonic()
            build = importlib.import_module(f"pipelines.{model}").build
            built = build(store, _say(progress, bar, console, model))
            taken = time.monotonic() - started
            versions = " and ".join(str(result.version) for result in built)
            progress.update(bar, completed=1, description=f"published versions {versions} in {taken:.0f} s")
            progress.stop_task(bar)
            results += built
    return results


def _say(progress: Progress, bar: int, console: Console, model: str) -> Callable[[str], None]:
    """Show each step on *model*'s line, or as a line of its own where there is no terminal."""

    def say(step: str) -> None:
        progress.update(bar, description=step)  # type: ignore[arg-type]
        if not console.is_terminal:
            console.print(f"{model}: {step}", markup=False, highlight=False)

    return say


def _models(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no model named {', '.join(unknown)}; there are {', '.join(MODELS)}")
    return tuple(name for name in MODELS if name in names)


if __name__ == "__main__":
    sys.exit(main())
