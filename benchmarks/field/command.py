"""`python -m benchmarks field`: the whole comparison, from the models to the report."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from benchmarks.field import answers, environments, plots, report
from benchmarks.field import scenarios as scenes
from benchmarks.field.generators import GENERATORS, generating
from benchmarks.field.measurement import Job, Measurement, Measures
from benchmarks.field.native_generator import BuildError
from benchmarks.field.report import Run, ServerFacts
from benchmarks.field.results import Sample, fastest, geometric_mean, rotated
from benchmarks.field.scenarios import Scenario
from benchmarks.field.servers import SETUPS, Running, Setup, Workshop, running
from benchmarks.machine import facts
from benchmarks.options import OUTPUT, above_0, several, some_of
from benchmarks.processes import ROOT, ServerFailedError, cpu_s
from turnout_server.release import release

SCENARIOS = ("mlp", "price", "ranking", "recommendation")
CONCURRENCY = (1, 8, 32, 64)
ROUNDS, SECONDS = 5, 3.0
QUICK_ROUNDS, QUICK_SECONDS = 2, 1.0
_WARMUP_S = 0.5
_TRIAL_S = 1.0
_IDLE_S = 2.0


def main(arguments: Sequence[str]) -> int:
    """Run the comparison that *arguments* ask for; return the exit code."""
    wanted = _parser().parse_args(arguments)
    rounds = wanted.rounds or (QUICK_ROUNDS if wanted.quick else ROUNDS)
    seconds = wanted.seconds or (QUICK_SECONDS if wanted.quick else SECONDS)
    output = wanted.output.resolve()  # the servers run in other directories
    try:
        run = compare(
            wanted.servers, wanted.scenarios, wanted.concurrency, rounds, seconds, output, generator=wanted.generator
        )
    except (ServerFailedError, BuildError, environments.InstallError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if not run.samples:
        return 130
    for path in write(run, output):
        print(path)
    return 0


def compare(
    servers: Sequence[str],
    names: Sequence[str],
    concurrencies: Sequence[int],
    rounds: int,
    seconds: float,
    output: Path,
    *,
    generator: str = "auto",
) -> Run:
    """Compare *servers* and return what was found. Ctrl-C ends it early, with what there is by then.

    Raises:
        ServerFailedError: a server does not start, or answers wrongly.
        BuildError: the generator in Rust was asked for, and cannot be built.
        InstallError: a rival cannot be installed.
    """
    machine = facts()
    workshop, scenarios = _prepare(output, names)
    samples: list[Sample] = []
    complete = False
    with contextlib.ExitStack() as stack:
        how, measures = stack.enter_context(generating(generator))
        loads = sorted({min(concurrencies), max(concurrencies)})
        chosen, trials = _choose(servers, loads, workshop, scenarios, measures)
        up = {name: stack.enter_context(running(setup, workshop, scenarios)) for name, setup in chosen.items()}
        checked = {name: answers.check(server, scenarios) for name, server in up.items()}
        expected = {
            (name, scenario.name): answers.raw_of(server, scenario)
            for name, server in up.items()
            for scenario in scenarios.values()
        }
        idle = _idle_cpu(up)
        with contextlib.suppress(KeyboardInterrupt):
            for sample in _measure(up, scenarios, concurrencies, rounds, seconds, measures, expected):
                samples.append(sample)
                _say_sample(sample, rounds)
            complete = True
        found = {
            name: ServerFacts(
                version=_version(name),
                variant=server.setup.variant,
                settings=server.setup.settings,
                answers_checked=checked[name],
                idle_cpu=idle[name],
                peak_rss=server.peak_rss(),
            )
            for name, server in up.items()
        }
    return Run(
        machine=machine,
        titles={name: scenario.title for name, scenario in scenarios.items()},
        rounds=rounds,
        seconds=seconds,
        warmup_s=_WARMUP_S,
        generator=how,
        complete=complete,
        servers=found,
        trials=trials,
        samples=tuple(samples),
    )


def write(run: Run, output: Path) -> list[Path]:
    """Write the report, the data and the pictures to *output*; return their paths."""
    document, data = output / "field.md", output / "field.json"
    document.write_text(report.as_markdown(run), encoding="utf-8")
    data.write_bytes(report.as_json(run))
    return [document, data, *plots.draw(run, output)]


def _prepare(output: Path, names: Sequence[str]) -> tuple[Workshop, dict[str, Scenario]]:
    """Make the models' files anew; servers' logs and settings of the last run go."""
    directory = output / "field"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    workshop = Workshop(directory / "store", directory / "models", directory, output / "venvs")
    every = scenes.build(ROOT / "model_store", directory)
    scenarios = {name: every[name] for name in names}
    scenes.write_store(scenarios, workshop.store)
    scenes.write_files(scenarios, workshop.models)
    return workshop, scenarios


def _choose(
    servers: Sequence[str],
    concurrencies: Sequence[int],
    workshop: Workshop,
    scenarios: Mapping[str, Scenario],
    generator: Measures,
) -> tuple[dict[str, Setup], dict[str, dict[str, tuple[float, ...]]]]:
    """Return each server's quickest setup, and the throughputs of the trial, where there are several."""
    chosen, trials = {}, {}
    for name in servers:
        setups = {setup.variant: setup for setup in SETUPS[name]}
        if len(setups) == 1:
            (chosen[name],) = setups.values()
            continue
        rates = {
            variant: _try(setup, concurrencies, workshop, scenarios, generator) for variant, setup in setups.items()
        }
        chosen[name] = setups[fastest(rates)]
        trials[name] = rates
        _say(f"{name}: {', '.join(f'{variant} {geometric_mean(found):.0f}/s' for variant, found in rates.items())}")
    return chosen, trials


def _try(
    setup: Setup,
    concurrencies: Sequence[int],
    workshop: Workshop,
    scenarios: Mapping[str, Scenario],
    generator: Measures,
) -> tuple[float, ...]:
    with running(setup, workshop, scenarios) as server:
        answers.check(server, scenarios)
        return tuple(
            _load(server, scenario, concurrency, _TRIAL_S, generator).throughput
            for scenario in scenarios.values()
            for concurrency in concurrencies
        )


def _measure(
    servers: Mapping[str, Running],
    scenarios: Mapping[str, Scenario],
    concurrencies: Sequence[int],
    rounds: int,
    seconds: float,
    generator: Measures,
    expected: Mapping[tuple[str, str], tuple[bytes, ...]],
) -> Iterator[Sample]:
    """Measure every cell in every round: whatever changes with time then touches all servers alike."""
    for number in range(rounds):
        turn = number
        for name, scenario in scenarios.items():
            for concurrency in concurrencies:
                for server in rotated(list(servers), turn):
                    right = expected[server, name]
                    measured = _load(servers[server], scenario, concurrency, seconds, generator, right)
                    yield Sample(round=number, scenario=name, concurrency=concurrency, server=server, measured=measured)
                turn += 1


def _load(
    server: Running,
    scenario: Scenario,
    concurrency: int,
    seconds: float,
    generator: Measures,
    expected: tuple[bytes, ...] = (),
) -> Measurement:
    return generator.measure(
        Job(
            target=server.address,
            pid=server.pid,
            requests=scenario.bodies(),
            concurrency=concurrency,
            seconds=seconds,
            warmup_s=_WARMUP_S,
            expected=expected,
        )
    )


def _idle_cpu(servers: Mapping[str, Running]) -> dict[str, float]:
    """Return how many cores each server uses when nobody asks it anything."""
    before = {name: cpu_s(server.pid) for name, server in servers.items()}
    time.sleep(_IDLE_S)
    return {name: (cpu_s(server.pid) - before[name]) / _IDLE_S for name, server in servers.items()}


def _version(server: str) -> str:
    match server:
        case "turnout":
            return release()
        case "floor":
            return f"on grpcio {metadata.version('grpcio')}"
        case _:
            return environments.version_of(server)


def _say_sample(sample: Sample, rounds: int) -> None:
    found = sample.measured
    _say(
        f"round {sample.round + 1}/{rounds}  {sample.scenario:<14} {sample.concurrency:>3} at once  {sample.server:<8} "
        f"{found.throughput:>7.0f}/s  p99 {found.p99 * 1e3:>7.2f} ms  {found.server_cpu * 1e6:>5.0f} µs CPU a call"
        + (f"  {found.errors} errors {found.codes}" if found.errors else "")
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks field",
        description="Compare Turnout with a bare gRPC server, MLServer and KServe on the same models.",
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds of {QUICK_SECONDS:g} s")
    parser.add_argument("--scenarios", type=some_of(SCENARIOS), default=SCENARIOS, metavar="A,B")
    parser.add_argument("--servers", type=some_of(tuple(SETUPS)), default=tuple(SETUPS), metavar="A,B")
    parser.add_argument("--concurrency", type=several(int), default=CONCURRENCY, metavar="N,M", help="calls at once")
    parser.add_argument("--seconds", type=above_0(float), metavar="S", help=f"of each measurement; {SECONDS:g}")
    parser.add_argument("--rounds", type=above_0(int), metavar="N", help=str(ROUNDS))
    parser.add_argument(
        "--generator", choices=GENERATORS, default="auto", help="of the load; auto is Rust's where cargo can build it"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR")
    return parser
