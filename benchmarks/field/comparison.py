"""The comparison itself: starts the servers, checks their answers, and measures them in alternating rounds."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from benchmarks.field import answers, environments, rivals, triton, turnouts, wire
from benchmarks.field import scenarios as scenes
from benchmarks.field.generators import generating
from benchmarks.field.measurement import Job, Measurement, Measures
from benchmarks.field.native_generator import NativeGenerator
from benchmarks.field.report import Run, ServerFacts
from benchmarks.field.results import Sample, fastest, geometric_mean, rotated
from benchmarks.field.scenarios import Scenario
from benchmarks.field.servers import Running, Setup, Workshop
from benchmarks.field.studies import Plan, scenarios_of, servers_of, without
from benchmarks.machine import facts
from benchmarks.processes import ROOT, ServerFailedError, cpu_s
from turnout_server.release import release

SETUPS: Mapping[str, tuple[Setup, ...]] = turnouts.SETUPS | rivals.SETUPS | triton.SETUPS
"""The ways to run each server. Where there are several, a trial decides which one is compared."""
_TRACED = tuple(name for name, setups in SETUPS.items() if any(setup.sampled for setup in setups))
_WARMUP_S = 0.5
_TRIAL_S = 1.0
_IDLE_S = 2.0


def compare(wished: Plan, rounds: int, seconds: float, output: Path, *, generator: str = "auto") -> Run:
    """Measure what is *wished* and return what was found. Ctrl-C ends it early, with what there is by then.

    Raises:
        ServerFailedError: a server does not start, or answers wrongly; or nothing is wished.
        BuildError: the generator in Rust was asked for, and cannot be built.
        InstallError: a rival cannot be installed.
    """
    machine = facts()
    samples: list[Sample] = []
    complete = False
    with contextlib.ExitStack() as stack:
        how, measures = stack.enter_context(generating(generator))
        traces = isinstance(measures, NativeGenerator)
        if not traces and (left := without(wished, _TRACED)) != wished:
            _say("the load generator in Python sends no traces: what they cost is left out")
            wished = left
        if not wished:
            raise ServerFailedError("there is nothing to measure: no server takes part in a study that was named")
        workshop, scenarios = _prepare(output, scenarios_of(wished))
        bench = _Bench(workshop, scenarios, wished, measures)
        chosen, trials = _choose(bench)
        up = {name: stack.enter_context(bench.running(setup)) for name, setup in chosen.items()}
        expected = {name: answers.check(server, bench.scenarios_of(name)) for name, server in up.items()}
        idle = _idle_cpu(up)
        with contextlib.suppress(KeyboardInterrupt):
            for sample in _measure(bench, up, rounds, seconds, expected):
                samples.append(sample)
                _say_sample(sample, rounds)
            complete = True
        found = {
            name: ServerFacts(
                version=_version(name),
                variant=server.setup.variant,
                settings=server.setup.settings,
                answers_checked=sum(map(len, expected[name].values())),
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
        checked=traces,
        complete=complete,
        servers=found,
        trials=trials,
        samples=tuple(samples),
    )


class _Bench(NamedTuple):
    """What everything is measured with."""

    workshop: Workshop
    scenarios: Mapping[str, Scenario]
    plan: Plan
    generator: Measures

    def scenarios_of(self, server: str) -> dict[str, Scenario]:
        return {name: self.scenarios[name] for name in scenarios_of(self.plan, server)}

    def running(self, setup: Setup) -> AbstractContextManager[Running]:
        """Start a server, wait until it answers for every model that it is asked for, and end it afterwards."""
        there = self.scenarios_of(setup.server).values()
        bodies = [wire.INFER.encode(one.route, one.signature, one.inputs[0]) for one in there]
        return setup.start(setup, self.workshop, bodies)

    def load(
        self, server: Running, name: str, concurrency: int, seconds: float, expected: tuple[bytes, ...] = ()
    ) -> Measurement:
        scenario = self.scenarios[name]
        job = Job(
            target=server.address or str(self.workshop.models),
            pid=server.pid,
            requests=scenario.bodies(),
            concurrency=concurrency,
            seconds=seconds,
            warmup_s=_WARMUP_S,
            method=scenario.way.method,
            sampled=server.setup.sampled,
            expected=expected,
            field=scenario.way.field,
            nearly=scenario.way.nearly,
        )
        return (server.measures or self.generator).measure(job)


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


def _choose(bench: _Bench) -> tuple[dict[str, Setup], dict[str, dict[str, tuple[float, ...]]]]:
    """Return each server's quickest setup, and the throughputs of the trial, where there are several."""
    chosen, trials = {}, {}
    for name in servers_of(bench.plan):
        setups = {setup.variant: setup for setup in SETUPS[name]}
        if len(setups) == 1:
            (chosen[name],) = setups.values()
            continue
        rates = {variant: _try(setup, bench) for variant, setup in setups.items()}
        chosen[name] = setups[fastest(rates)]
        trials[name] = rates
        _say(f"{name}: {', '.join(f'{variant} {geometric_mean(found):.0f}/s' for variant, found in rates.items())}")
    return chosen, trials


def _try(setup: Setup, bench: _Bench) -> tuple[float, ...]:
    """Return a setup's throughputs with the fewest and with the most calls at once."""
    loads = [cell.concurrency for cell, servers in bench.plan.items() if setup.server in servers]
    there = bench.scenarios_of(setup.server)
    with bench.running(setup) as server:
        answers.check(server, there)
        return tuple(
            bench.load(server, scenario, concurrency, _TRIAL_S).throughput
            for scenario in there
            for concurrency in sorted({min(loads), max(loads)})
        )


def _measure(
    bench: _Bench,
    servers: Mapping[str, Running],
    rounds: int,
    seconds: float,
    expected: Mapping[str, Mapping[str, tuple[bytes, ...]]],
) -> Iterator[Sample]:
    """Measure every cell in every round: whatever changes with time then touches all servers alike."""
    for number in range(rounds):
        for turn, (cell, there) in enumerate(bench.plan.items(), number):
            for name in rotated(there, turn):
                right = expected[name][cell.scenario]
                measured = bench.load(servers[name], cell.scenario, cell.concurrency, seconds, right)
                yield Sample(
                    round=number, scenario=cell.scenario, concurrency=cell.concurrency, server=name, measured=measured
                )


def _idle_cpu(servers: Mapping[str, Running]) -> dict[str, float]:
    """Return how many cores each server uses when nobody asks it anything."""
    before = {name: cpu_s(server.pid) for name, server in servers.items()}
    time.sleep(_IDLE_S)
    return {name: (cpu_s(server.pid) - before[name]) / _IDLE_S for name, server in servers.items()}


def _version(server: str) -> str:
    match server:
        case _ if server in rivals.LOCKED:
            return environments.version_of(server)
        case "floor":
            return f"on grpcio {metadata.version('grpcio')}"
        case "onnxruntime":
            return metadata.version("onnxruntime")
        case "triton":
            return f"({triton.version(os.environ[triton.ADDRESS])})"
        case _:
            return release()


def _say_sample(sample: Sample, rounds: int) -> None:
    found = sample.measured
    _say(
        f"round {sample.round + 1}/{rounds}  {sample.scenario:<14} {sample.concurrency:>3} at once  "
        f"{sample.server:<11} "
        f"{found.throughput:>7.0f}/s  p99 {found.p99 * 1e3:>7.2f} ms  {found.server_cpu * 1e6:>5.0f} µs CPU a call"
        + (f"  {found.errors} errors {found.codes}" if found.errors else "")
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
