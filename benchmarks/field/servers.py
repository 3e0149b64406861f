"""The servers: how each is started, and in which settings."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks import processes
from benchmarks.field import environments
from benchmarks.field.scenarios import Scenario
from benchmarks.processes import Launch, Server, free_port, serving

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


class Setup(NamedTuple):
    """One server in one way of running it."""

    server: str
    variant: str
    settings: str
    """In words, for the report."""
    launch: Callable[[Workshop], Launch]

    @property
    def name(self) -> str:
        """What distinguishes it from all other setups."""
        return f"{self.server}-{self.variant}" if self.variant else self.server


class Running(Server):
    """A server that answers."""

    def __init__(self, setup: Setup, server: Server) -> None:
        super().__init__(server.pid, server.address)
        self.setup = setup


@contextlib.contextmanager
def running(setup: Setup, workshop: Workshop, scenarios: Mapping[str, Scenario]) -> Iterator[Running]:
    """Start a server, wait until it answers for every scenario, and end it afterwards.

    Raises:
        ServerFailedError: it does not answer in time.
        InstallError: its environment cannot be made.
    """
    bodies = [scenario.bodies()[0] for scenario in scenarios.values()]
    with serving(setup.name, setup.launch(workshop), workshop.directory, bodies) as server:
        yield Running(setup, server)


# ---------------------------------------------------------------- the servers


def _turnout(workshop: Workshop) -> Launch:
    return processes.turnout(workshop.store)


def _floor(workshop: Workshop) -> Launch:
    port = free_port()
    command = [sys.executable, str(PROGRAMS / "bare_server.py"), str(workshop.models), str(port)]
    return Launch(command, port, processes.paths("server"))


def _mlserver(workers: int, batch: int = 0) -> Callable[[Workshop], Launch]:
    def launch(workshop: Workshop) -> Launch:
        python = environments.python_of("mlserver", workshop.environments)
        port = free_port()
        home = workshop.directory / f"mlserver-{workers}-{batch}"
        settings = {
            "host": "127.0.0.1",
            "http_port": free_port(),
            "grpc_port": port,
            "debug": False,
            "metrics_endpoint": None,
            "parallel_workers": workers,
        }
        _write_json(home / "settings.json", settings)
        for path in workshop.models.glob("*.onnx"):
            model: dict[str, object] = {
                "name": path.stem,
                "implementation": "mlserver_runtime.OnnxModel",
                "parameters": {"uri": str(path)},
            }
            if batch and path.stem != "recommendation":  # its requests have different widths, and `k` has no rows
                model |= {"max_batch_size": batch, "max_batch_time": 0.001}
            _write_json(home / path.stem / "model-settings.json", model)
        command = [str(python.parent / "mlserver"), "start", str(home)]
        return Launch(command, port, {"PYTHONPATH": str(PROGRAMS)}, home)

    return launch


def _kserve(*options: str) -> Callable[[Workshop], Launch]:
    def launch(workshop: Workshop) -> Launch:
        python = environments.python_of("kserve", workshop.environments)
        port = free_port()
        arguments = [
            *("--directory", str(workshop.models), *options),
            *("--grpc_port", str(port), "--http_port", str(free_port())),
            *("--workers", "1", "--enable_latency_logging", "false"),
        ]
        command = [str(python), str(PROGRAMS / "kserve_server.py"), *arguments]
        return Launch(command, port, {"KSERVE_LOGLEVEL": "WARNING"})

    return launch


def _write_json(path: Path, document: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")


_QUIET_MLSERVER = "debug off (no access log), metrics endpoint off"
_QUIET_KSERVE = "one worker, latency log off, log level WARNING"

SETUPS: Mapping[str, tuple[Setup, ...]] = {
    "turnout": (Setup("turnout", "", "as installed: metrics on, logs on, no setting changed", _turnout),),
    "floor": (Setup("floor", "", "bare grpc.aio handler on uvloop; checks, counts and logs nothing", _floor),),
    "mlserver": (
        Setup("mlserver", "inline", f"parallel_workers 0; {_QUIET_MLSERVER}", _mlserver(0)),
        Setup("mlserver", "worker", f"parallel_workers 1, the default; {_QUIET_MLSERVER}", _mlserver(1)),
        Setup(
            "mlserver",
            "batching",
            f"parallel_workers 0, adaptive batching of 32 rows within 1 ms, but for recommendation; {_QUIET_MLSERVER}",
            _mlserver(0, 32),
        ),
    ),
    "kserve": (
        Setup("kserve", "asyncio", f"the event loop it starts with; {_QUIET_KSERVE}", _kserve()),
        Setup("kserve", "uvloop", f"uvloop installed before it starts; {_QUIET_KSERVE}", _kserve("--uvloop")),
    ),
}
"""The ways to run each server. Where there are several, a trial decides which one is compared."""
