"""`python -m benchmarks reload`: from the models to the report."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

from benchmarks.field.scenarios import Scenario, build, mlp, write_store
from benchmarks.machine import facts
from benchmarks.options import OUTPUT, above_0
from benchmarks.processes import ROOT, ServerFailedError, serving, turnout
from benchmarks.recorder import Recorder
from benchmarks.reload import plots, report
from benchmarks.reload.report import Run
from benchmarks.reload.results import Round
from benchmarks.reload.rounds import MODEL, Stage, reload
from turnout_server.onnx.trial import inspect
from turnout_server.store.manifest import MODEL_FILE
from turnout_server.store.publish import Draft, publish
from turnout_server.vocabulary.task import Task

ROUNDS, SECONDS, RATE = 5, 5.0, 200.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 2.0
NEIGHBOURS = ("price", "mlp")
WIDTH, LAYERS = 4096, 3
"""Of the large model: three layers of 64 MiB."""


def main(arguments: Sequence[str]) -> int:
    """Measure what *arguments* ask for; return the exit code."""
    wanted = _parser().parse_args(arguments)
    rounds = wanted.rounds or (QUICK_ROUNDS if wanted.quick else ROUNDS)
    seconds = wanted.seconds or (QUICK_SECONDS if wanted.quick else SECONDS)
    output = wanted.output.resolve()
    machine = facts()
    found: list[Round] = []
    pictures: list[Path] = []
    try:
        with _ready(output / "reload", wanted.neighbour, wanted.rate, wanted.set) as (stage, neighbour):
            with contextlib.suppress(KeyboardInterrupt):
                for number in range(rounds):
                    one, calls, times = reload(stage, seconds)
                    found.append(one)
                    pictures = [plots.draw(calls, times, output / "reload.png")]
                    print(report.line(one, number + 1), file=sys.stderr, flush=True)
            model_bytes = stage.draft.files[MODEL_FILE].stat().st_size
    except ServerFailedError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    if not found:
        return 130
    run = Run(
        machine=machine,
        model_bytes=model_bytes,
        neighbour=neighbour,
        rate=wanted.rate,
        settings=tuple(wanted.set),
        complete=len(found) == rounds,
        rounds=tuple(found),
    )
    (output / "reload.md").write_text(report.as_markdown(run), encoding="utf-8")
    (output / "reload.json").write_bytes(report.as_json(run))
    for path in (output / "reload.md", output / "reload.json", *pictures):
        print(path)
    return 0 if run.complete else 130


@contextlib.contextmanager
def _ready(directory: Path, name: str, rate: float, settings: Sequence[str]) -> Iterator[tuple[Stage, str]]:
    """Make the models, serve a first version of the large one, and start the generator."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    neighbour: Scenario = build(ROOT / "model_store", directory)[name]
    store, large = directory / "store", directory / "large.onnx"
    write_store({name: neighbour}, store)
    onnx.save(mlp((32, *[WIDTH] * (LAYERS + 1), 1)), large)
    draft = Draft(model=MODEL, task=Task.TENSORS, signature=inspect(large), files={MODEL_FILE: large})
    publish(store, draft)
    options = [word for setting in settings for word in ("--set", setting)]
    launch = turnout(store, "--log-format", "json", *options)
    with serving("turnout", launch, directory, neighbour.bodies()[:1]) as server, Recorder() as recorder:
        yield (
            Stage(server, directory / "turnout.log", store, draft, neighbour.bodies(), rate, recorder),
            neighbour.title,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks reload", description="Reload a large model while a neighbour is asked."
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} round, {QUICK_SECONDS:g} s each side")
    parser.add_argument("--neighbour", choices=NEIGHBOURS, default=NEIGHBOURS[0])
    parser.add_argument("--rate", type=above_0(float), default=RATE, metavar="R", help=f"its calls a second; {RATE:g}")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="a setting of the server's")
    parser.add_argument("--seconds", type=above_0(float), metavar="S", help=f"before and after a reload; {SECONDS:g}")
    parser.add_argument("--rounds", type=above_0(int), metavar="N", help=str(ROUNDS))
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR")
    return parser
