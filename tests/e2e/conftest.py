"""The real gateway, as a process of its own."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.tiny_store import make_store

REPOSITORY = Path(__file__).parents[2]
DATA_PLANE = os.environ.get("TURNOUT_TEST_DATA_PLANE", "")
"""What every gateway of the tests serves on: `engine` or `python`; empty for the default."""
START_S = 60.0
"""How long a gateway may take to start, on a busy machine."""

StartGateway = Callable[..., "Gateway"]


def environment(**more: str) -> dict[str, str]:
    """Return what a `turnout` process of the tests runs with: this repository, and no setting from outside."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "TURNOUT_", "GRPC_"))}
    paths = [str(REPOSITORY / "server"), str(REPOSITORY / "clients/python"), str(REPOSITORY)]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"} | more


@dataclass
class Gateway:
    """A gateway in a process of its own, serving."""

    process: subprocess.Popen[str]
    store: Path
    started: dict[str, Any]
    """What `turnout serve --json` said when it had started."""
    log_path: Path
    """Its stderr: a JSON object a line."""
    address: str = field(init=False)
    """HOST:PORT of gRPC."""
    metrics: str | None = field(init=False)
    """HOST:PORT of the Prometheus text."""

    def __post_init__(self) -> None:
        self.address, self.metrics = self.started["address"], self.started["metrics"]

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        """Return what it has written to stderr so far."""
        return self.log_path.read_text(encoding="utf-8")

    def terminate(self, timeout: float = 30.0) -> int:
        """Send SIGTERM, wait for the end, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that nobody changes; see `tests.e2e.tiny_store.make_store`."""
    return make_store(tmp_path_factory.mktemp("tiny") / "store")


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    """A copy of the tiny store that a test may change."""
    return Path(shutil.copytree(tiny_store, tmp_path / "store"))


@pytest.fixture(scope="session")
def gateway(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway over `tiny_store` that all tests share: look, and change nothing."""
    started = _start(tiny_store, tmp_path_factory.mktemp("gateway") / "stderr.log", (), {})
    yield started
    started.kill()


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Start gateways that end with the test: `start_gateway(store, "--allow-changes", env={"OTEL_...": "..."})`.

    *within* is a command that runs the gateway in its stead, and becomes it: `("setpriv", "...")`.
    """
    running: list[Gateway] = []

    def start(store: Path, *arguments: str, env: dict[str, str] | None = None, within: tuple[str, ...] = ()) -> Gateway:
        running.append(_start(store, tmp_path / f"gateway-{len(running)}.log", arguments, env or {}, within))
        return running[-1]

    yield start
    for one in running:
        one.kill()


def serve_command(store: Path, *arguments: str) -> list[str]:
    """Return the command that serves *store* on free ports; *arguments* come last and win."""
    plain: tuple[str, ...] = ("--store", str(store), "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--json")
    if DATA_PLANE:
        plain += ("--data-plane", DATA_PLANE)
    return [sys.executable, "-m", "turnout_server", "serve", *plain, "--log-format", "json", *arguments]


def _start(
    store: Path, log_path: Path, arguments: tuple[str, ...], env: dict[str, str], within: tuple[str, ...] = ()
) -> Gateway:
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [*within, *serve_command(store, *arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(**env),
        )
    line = _first_line(process)
    if not line:
        process.kill()
        process.communicate()
        pytest.fail(f"the gateway did not start (exit code {process.returncode}):\n{log_path.read_text()}")
    return Gateway(process, store, json.loads(line), log_path)


def _first_line(process: subprocess.Popen[str]) -> str:
    """Return the first line of stdout; empty when the process ended, or said nothing for too long."""
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=lambda out: lines.put(out.readline()), args=(process.stdout,), daemon=True).start()
    try:
        return lines.get(timeout=START_S)
    except queue.Empty:
        return ""
