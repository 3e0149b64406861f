"""`python -m benchmarks overload`: from the models to the report."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from benchmarks.field.results import rotated
from benchmarks.field.scenarios import MLP_SIZES, SEED, Scenario, mlp, write_store
from benchmarks.machine import facts
from benchmarks.options import OUTPUT, above_0, several, some_of
from benchmarks.overload import plots, report
from benchmarks.overload.probe import Probe, copies, less
from benchmarks.overload.report import Run
from benchmarks.overload.results import Level, Refusals, level
from benchmarks.processes import Server, ServerFailedError, free_port, serving, turnout
from benchmarks.recorder import Arrivals, Order, Recorder, Recording
from turnout_server.onnx.trial import inspect
from turnout_server.vocabulary.task import Task

FACTORS = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0)
MIRRORED_FACTORS = (0.2, 5.0)
CALLERS = (1, 2, 4, 8, 16, 32)
"""Of the closed loops that look for the capacity."""
ROUNDS, SECONDS = 3, 5.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 2.0
NEIGHBOUR_RATE = 50.0
HEAVY_SIZES = (16, 1024, 1024, 1024, 1024, 1)
HEAVY_ROWS = 64
"""Of a request: as many as a batch may have, so that each runs alone."""
_CONNECTIONS = 4
_REQUESTS = 16
_WARMUP_S = 1.0
_CAPACITY_S = 1.5

TITLES = {
    "heavy": f"A costly model: MLP {'-'.join(map(str, HEAVY_SIZES))}, {HEAVY_ROWS} rows a request",
    "mirrored": "The same, with a copy of each request for another model",
    "quick": f"A quick model: MLP {'-'.join(map(str, MLP_SIZES))}, one row a request",
}


class Stage(NamedTuple):
    """All that stands ready."""

    server: Server
    metrics: str
    """HOST:PORT."""
    scenarios: dict[str, Scenario]
    main: Recorder
    neighbour: Recorder
    neighbour_rate: float


def main(arguments: Sequence[str]) -> int:
    """Measure what *arguments* ask for; return the exit code."""
    wanted = _parser().parse_args(arguments)
    rounds = wanted.rounds or (QUICK_ROUNDS if wanted.quick else ROUNDS)
    seconds = wanted.seconds or (QUICK_SECONDS if wanted.quick else SECONDS)
    output = wanted.output.resolve()
    machine = facts()
    levels: list[Level] = []
    complete = False
    try:
        with _ready(output / "overload", wanted.set, wanted.neighbour_rate) as stage:
            capacities = _capacities(stage, wanted.series)
            with contextlib.suppress(KeyboardInterrupt):
                for one in _measure(stage, capacities, _cells(wanted.series, wanted.factors), rounds, seconds):
                    levels.append(one)
                    _say(report.line(one, rounds))
                complete = True
    except ServerFailedError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    run = Run(
        machine=machine,
        titles=TITLES,
        settings=tuple(wanted.set),
        rounds=rounds,
        seconds=seconds,
        complete=complete,
        capacities=capacities,
        neighbour_rate=wanted.neighbour_rate,
        levels=tuple(levels),
    )
    (output / "overload.md").write_text(report.as_markdown(run), encoding="utf-8")
    (output / "overload.json").write_bytes(report.as_json(run))
    for path in (output / "overload.md", output / "overload.json", *plots.draw(run, output)):
        print(path)
    return 0 if complete else 130


@contextlib.contextmanager
def _ready(directory: Path, settings: Sequence[str], neighbour_rate: float) -> Iterator[Stage]:
    """Make the models, and start the server and the generators."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    scenarios = _scenarios(directory)
    write_store(scenarios, directory / "store")
    _add_mirror(directory / "store" / "routes.yaml")
    scenarios["mirrored"] = scenarios["heavy"]._replace(name="mirrored")
    metrics = f"127.0.0.1:{free_port()}"
    options = [word for setting in settings for word in ("--set", setting)]
    launch = turnout(directory / "store", "--metrics", metrics, *options)
    bodies = [scenario.bodies()[0] for scenario in scenarios.values()]
    with serving("turnout", launch, directory, bodies) as server, Recorder() as first, Recorder() as second:
        yield Stage(server, metrics, scenarios, first, second, neighbour_rate)


def _scenarios(directory: Path) -> dict[str, Scenario]:
    random = np.random.default_rng(SEED)
    scenarios = {}
    for file, names, sizes, rows in (
        ("heavy.onnx", ("heavy", "shadow"), HEAVY_SIZES, HEAVY_ROWS),
        ("quick.onnx", ("quick", "neighbour"), MLP_SIZES, 1),
    ):
        path = directory / file
        onnx.save(mlp(sizes), path)
        inputs = tuple({"x": random.standard_normal((rows, sizes[0]), np.float32)} for _ in range(_REQUESTS))
        for name in names:
            scenarios[name] = Scenario(name, TITLES.get(name, ""), Task.TENSORS, inspect(path), path, inputs)
    return scenarios


def _add_mirror(routes: Path) -> None:
    table = json.loads(routes.read_text(encoding="utf-8"))
    copy = {"model": "shadow", "version": table["routes"]["heavy"]["targets"][0]["version"], "fraction": 1.0}
    table["routes"]["mirrored"] = table["routes"]["heavy"] | {"mirrors": [copy]}
    routes.write_text(json.dumps(table, indent=2), encoding="utf-8")


def _capacities(stage: Stage, wanted: Sequence[str]) -> dict[str, float]:
    """Return the capacity of each series; mirrored requests are to take what nobody else needs, so it is the same."""
    models = {"heavy": "heavy", "mirrored": "heavy", "quick": "quick"}
    found = {model: _capacity(stage, model) for model in dict.fromkeys(models[series] for series in wanted)}
    return {series: found[models[series]] for series in wanted}


def _capacity(stage: Stage, name: str) -> float:
    """Return the most answers a second that callers get who wait for each: the model's capacity."""
    best = 0.0
    for callers in CALLERS:
        order = Order(
            target=stage.server.address,
            pid=stage.server.pid,
            requests=stage.scenarios[name].bodies(),
            concurrency=callers,
            seconds=_CAPACITY_S,
            connections=min(callers, _CONNECTIONS),
        )
        rate = stage.main.measure(order).goodput
        _say(f"{name}: {callers} callers get {rate:.0f} answers/s")
        best = max(best, rate)
    return best


def _cells(wanted: Sequence[str], factors: Sequence[float]) -> list[tuple[str, float]]:
    """Return the series and loads to measure; one without load shows the neighbour by itself."""
    loads = {"heavy": (0.0, *factors), "mirrored": MIRRORED_FACTORS, "quick": factors}
    return [(series, factor) for series in wanted for factor in loads[series]]


def _measure(
    stage: Stage, capacities: Mapping[str, float], cells: Sequence[tuple[str, float]], rounds: int, seconds: float
) -> Iterator[Level]:
    """Measure every load in every round, beginning with another each time."""
    for number in range(rounds):
        for series, factor in rotated(cells, number * 5):
            yield _level(stage, number, series, factor, factor * capacities[series], seconds)


def _level(stage: Stage, number: int, series: str, factor: float, rate: float, seconds: float) -> Level:
    before = copies(stage.metrics)
    stage.neighbour.order(_order(stage, "neighbour", stage.neighbour_rate, seconds, "even", 1))
    body = stage.scenarios[series].bodies()[0]
    recording: Recording | None = None
    with Probe(stage.server.address, body) if factor > 1 else contextlib.nullcontext() as probe:
        if rate:
            recording = stage.main.measure(_order(stage, series, rate, seconds, "random", _CONNECTIONS))
        beside = stage.neighbour.found()
    refusals = probe.found() if probe else Refusals()
    return level(number, series, factor, recording, beside, refusals, less(copies(stage.metrics), before))


def _order(stage: Stage, name: str, rate: float, seconds: float, arrivals: Arrivals, connections: int) -> Order:
    return Order(
        target=stage.server.address,
        pid=stage.server.pid,
        requests=stage.scenarios[name].bodies(),
        rate=rate,
        seconds=seconds,
        warmup_s=_WARMUP_S,
        arrivals=arrivals,
        connections=connections,
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks overload", description="Ask more of a model than it can do, and look at all callers."
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} round of {QUICK_SECONDS:g} s")
    parser.add_argument("--series", type=some_of(tuple(TITLES)), default=tuple(TITLES), metavar="A,B")
    parser.add_argument("--factors", type=several(float), default=FACTORS, metavar="X,Y", help="loads, in capacities")
    parser.add_argument("--neighbour-rate", type=above_0(float), default=NEIGHBOUR_RATE, metavar="R", help="calls/s")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="a setting of the server's")
    parser.add_argument("--seconds", type=above_0(float), metavar="S", help=f"of each measurement; {SECONDS:g}")
    parser.add_argument("--rounds", type=above_0(int), metavar="N", help=str(ROUNDS))
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR")
    return parser
