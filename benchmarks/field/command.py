"""`python -m benchmarks field`: the whole comparison, from the models to the report."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.field import environments, plots, report, triton
from benchmarks.field import scenarios as scenes
from benchmarks.field.comparison import SETUPS, compare
from benchmarks.field.generators import GENERATORS
from benchmarks.field.native_generator import BuildError
from benchmarks.field.report import Run
from benchmarks.field.studies import DEFAULT, OPTIONAL, SCENARIOS, STUDIES, plan, scenarios_of
from benchmarks.options import OUTPUT, above_0, several, some_of
from benchmarks.processes import ROOT, ServerFailedError

ROUNDS, SECONDS = 5, 2.0
QUICK_ROUNDS, QUICK_SECONDS = 2, 0.5


def main(arguments: Sequence[str]) -> int:
    """Run the comparison that *arguments* ask for; return the exit code."""
    wanted = _parser().parse_args(arguments)
    rounds = wanted.rounds or (QUICK_ROUNDS if wanted.quick else ROUNDS)
    seconds = wanted.seconds or (QUICK_SECONDS if wanted.quick else SECONDS)
    output = wanted.output.resolve()  # the servers run in other directories
    try:
        if wanted.triton_models:
            _write_for_triton(wanted.triton_models.resolve())
            return 0
        wished = plan(wanted.studies, wanted.servers or _servers(), wanted.scenarios, wanted.concurrency)
        run = compare(wished, rounds, seconds, output, generator=wanted.generator)
    except (ServerFailedError, BuildError, environments.InstallError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if not run.samples:
        return 130
    print(report.targets(run))
    for path in write(run, output):
        print(path)
    return 0


def _servers() -> tuple[str, ...]:
    """Return who takes part by default: rivals of other makes do not, but for a Triton that somebody has started."""
    there = {"triton"} if triton.given(os.environ) else set()
    return tuple(name for name in SETUPS if name not in OPTIONAL or name in there)


def _write_for_triton(root: Path) -> None:
    """Write the models of the studies that Triton takes part in."""
    names = scenarios_of(plan(DEFAULT, ("triton",)))
    with tempfile.TemporaryDirectory() as directory:
        every = scenes.build(ROOT / "model_store", Path(directory))
        triton.write_repository({name: every[name] for name in names}, root)
    print(root)


def write(run: Run, output: Path) -> list[Path]:
    """Write the report, the data and the pictures to *output*; return their paths."""
    document, data = output / "field.md", output / "field.json"
    document.write_text(report.as_markdown(run), encoding="utf-8")
    data.write_bytes(report.as_json(run))
    return [document, data, *plots.draw(run, output)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks field",
        description="Measure what Turnout costs and how quick it is, beside others and beside itself.",
        epilog="Studies: " + "; ".join(f"{name}: {study.title}" for name, study in STUDIES.items()) + ".",
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds of {QUICK_SECONDS:g} s")
    parser.add_argument(
        "--studies", type=some_of(tuple(STUDIES)), default=DEFAULT, metavar="A,B", help=f"default {','.join(DEFAULT)}"
    )
    parser.add_argument("--scenarios", type=some_of(SCENARIOS), default=SCENARIOS, metavar="A,B", help="only these")
    parser.add_argument(
        "--servers",
        type=some_of(tuple(SETUPS)),
        metavar="A,B",
        help=f"only these; by default all but {', '.join(OPTIONAL)}; triton too where {triton.ADDRESS} "
        f"and {triton.PID} in the environment say where it is",
    )
    parser.add_argument(
        "--concurrency", type=several(int), default=(), metavar="N,M", help="calls at once, in place of each study's"
    )
    parser.add_argument("--seconds", type=above_0(float), metavar="S", help=f"of each measurement; {SECONDS:g}")
    parser.add_argument("--rounds", type=above_0(int), metavar="N", help=str(ROUNDS))
    parser.add_argument(
        "--generator", choices=GENERATORS, default="auto", help="of the load; auto is Rust's where cargo can build it"
    )
    parser.add_argument(
        "--triton-models", type=Path, metavar="DIR", help="write the models for a Triton to DIR, and do nothing else"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR")
    return parser
