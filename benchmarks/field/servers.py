"""What all servers have in common: a way to be started, and what is known of one that runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from benchmarks.field.measurement import Measures
from benchmarks.processes import Launch, Server, serving

PROGRAMS = Path(__file__).parent / "programs"


class Workshop(NamedTuple):
    """Where the benchmark's files are."""

    store: Path
    """For Turnout."""
    models: Path
    """For everyone else: NAME.onnx."""
    directory: Path
    """For logs and settings."""
    environments: Path
    """The rivals' virtual environments."""


class Running(Server):
    """A server that answers."""

    def __init__(self, setup: Setup, pid: int, address: str, measures: Measures | None = None) -> None:
        super().__init__(pid, address)
        self.setup = setup
        self.measures = measures
        """Measures it in place of the load generator, where nobody calls it; it has no address then."""


Start = Callable[["Setup", Workshop, Sequence[bytes]], AbstractContextManager[Running]]
"""Starts a setup, waits until it has answered each of some serialised `ModelInferRequest`s, and ends it afterwards; or
raises ServerFailedError or InstallError."""


class Setup(NamedTuple):
    """One server in one way of running it."""

    server: str
    variant: str
    settings: str
    """In words, for the report."""
    start: Start
    sampled: float = 0.0
    """The share of calls to it whose trace is sampled."""

    @property
    def name(self) -> str:
        """What distinguishes it from all other setups."""
        return f"{self.server}-{self.variant}" if self.variant else self.server


def launched(launch: Callable[[Workshop], Launch]) -> Start:
    """Return what starts a server that is a process of its own."""

    @contextlib.contextmanager
    def start(setup: Setup, workshop: Workshop, bodies: Sequence[bytes]) -> Iterator[Running]:
        with serving(setup.name, launch(workshop), workshop.directory, bodies) as server:
            yield Running(setup, server.pid, server.address)

    return start
