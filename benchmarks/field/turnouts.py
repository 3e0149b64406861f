"""Turnout in all the ways that are compared, and ONNX Runtime by itself."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks.field.own_runs import OwnRuns
from benchmarks.field.servers import PROGRAMS, Running, Setup, Start, Workshop, launched
from benchmarks.processes import Launch, ServerFailedError, free_port, serving, turnout

_ENGINE = ("--data-plane", "engine")
_ROTATE_S = 5
"""Seconds until the journal begins a new file, so that writing one is a part of every measurement."""


def _engine(workshop: Workshop, *options: str) -> Launch:
    if importlib.util.find_spec("turnout_engine") is None:
        raise ServerFailedError("the engine is not installed, see docs/engine.md; --servers portable,floor has none")
    return turnout(workshop.store, *_ENGINE, *options)


def _portable(workshop: Workshop) -> Launch:
    return turnout(workshop.store, "--data-plane", "python")


def _on_cores(count: int) -> Callable[[Workshop], Launch]:
    def launch(workshop: Workshop) -> Launch:
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < count:
            raise ServerFailedError(f"{count} cores are needed, and there is {len(usable)}")
        return _engine(workshop)._replace(cores=frozenset(usable[:count]))

    return launch


@contextlib.contextmanager
def _with_journal(setup: Setup, workshop: Workshop, bodies: Sequence[bytes]) -> Iterator[Running]:
    journal = workshop.directory / "journal"
    launch = _engine(workshop, "--set", f"journal.path={journal}", "--set", f"journal.rotate_s={_ROTATE_S}")
    with serving(setup.name, launch, workshop.directory, bodies) as server:
        yield Running(setup, server.pid, server.address)
    if not any(one.stat().st_size for one in journal.rglob("*.parquet")):
        raise ServerFailedError("the journal is empty: what was measured had none")


@contextlib.contextmanager
def _traced(setup: Setup, workshop: Workshop, bodies: Sequence[bytes]) -> Iterator[Running]:
    port, name = free_port(), f"collector-{setup.name}"
    collector = Launch([sys.executable, str(PROGRAMS / "collector.py"), str(port)], port)
    launch = _engine(workshop)
    told = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{port}"}
    launch = launch._replace(env={**launch.env, **told})
    with (
        serving(name, collector, workshop.directory, ()),
        serving(setup.name, launch, workshop.directory, bodies) as server,
    ):
        yield Running(setup, server.pid, server.address)
    if not (workshop.directory / f"{name}.log").stat().st_size:
        raise ServerFailedError("no span came to the collector: what was measured had no traces")


@contextlib.contextmanager
def _by_itself(setup: Setup, workshop: Workshop, bodies: Sequence[bytes]) -> Iterator[Running]:
    with OwnRuns() as runs:
        yield Running(setup, runs.pid, "", runs)


def _one(server: str, settings: str, start: Start, sampled: float = 0.0) -> tuple[Setup, ...]:
    return (Setup(server, "", settings, start, sampled),)


_PINNED = "as installed, but kept on {} by the system: the engine has a shard for each core that it may use"

SETUPS: Mapping[str, tuple[Setup, ...]] = {
    "turnout": _one("turnout", "as installed, with the engine: metrics on, logs on", launched(_engine)),
    "portable": _one("portable", "without the engine: grpcio and Python's data plane", launched(_portable)),
    "journal": _one("journal", f"as installed, with a journal that has a new file every {_ROTATE_S} s", _with_journal),
    "traced-1": _one("traced-1", "as installed, with a collector; 1 % of the calls are sampled", _traced, 0.01),
    "traced": _one("traced", "as installed, with a collector; all calls are sampled", _traced, 1.0),
    "one-shard": _one("one-shard", _PINNED.format("one core"), launched(_on_cores(1))),
    "two-shards": _one("two-shards", _PINNED.format("two cores"), launched(_on_cores(2))),
    "onnxruntime": _one("onnxruntime", "by itself, one run after the other in one thread", _by_itself),
}
