"""Processes that are measured: how one is started, what it uses, and how it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import grpc
import psutil

METHOD = "/inference.GRPCInferenceService/ModelInfer"
ROOT = Path(__file__).parents[1]
_START_S = 90.0
_STOP_S = 10.0
_SHARD = re.compile(r"turnout-\d+")
"""What the engine calls the threads that carry calls."""
_FOREIGN = ("OTEL_", "TURNOUT_", "GRPC_", "MLSERVER_", "KSERVE_", "PYTHON")
"""Settings from outside that no server gets."""


class ServerFailedError(Exception):
    """A server did not start, or answers wrongly; the text says what to look at."""


class Launch(NamedTuple):
    """What starts a server."""

    command: list[str]
    port: int
    """Where it serves gRPC, on 127.0.0.1."""
    env: Mapping[str, str] = {}
    directory: Path | None = None
    cores: frozenset[int] = frozenset()
    """The only ones that it may use; none given are all."""


class Server:
    """A process that serves, and those that it has started."""

    def __init__(self, pid: int, address: str) -> None:
        self.pid = pid
        self.address = address
        """HOST:PORT of gRPC."""

    def peak_rss(self) -> int:
        """Return the most bytes that each process has had resident, added up; what they share counts for each."""
        process = psutil.Process(self.pid)
        return sum(_peak_rss(one.pid) for one in (process, *process.children(recursive=True)))

    def rss(self) -> int:
        """Return the bytes that each process has resident now, likewise."""
        process = psutil.Process(self.pid)
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))


@contextlib.contextmanager
def serving(name: str, launch: Launch, directory: Path, bodies: Iterable[bytes]) -> Iterator[Server]:
    """Start a server, wait until it answers, and end it afterwards.

    Args:
        name: what the log in *directory* and an error are called by.
        launch: starts it.
        directory: where it works, unless *launch* says otherwise.
        bodies: serialised requests; it is there when it has answered each with OK.

    Raises:
        ServerFailedError: it does not answer in time.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        with _only_on(launch.cores):
            process = subprocess.Popen(
                launch.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=kept | {"ORT_DISABLE_TELEMETRY": "1"} | dict(launch.env),
                cwd=launch.directory or directory,
                start_new_session=True,
            )
        try:
            server = Server(process.pid, f"127.0.0.1:{launch.port}")
            for body in bodies:
                _wait_until_it_answers(process, server.address, body, f"{name} does not serve; see {log}")
            yield server
        finally:
            _end(process)


@contextlib.contextmanager
def _only_on(cores: frozenset[int]) -> Iterator[None]:
    """Keep this thread on *cores*, if any are given: a process that it starts inherits that, and keeps it."""
    before = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def turnout(store: Path, *options: str) -> Launch:
    """Return what starts Turnout, as installed but for *options*."""
    port = free_port()
    metrics = () if "--metrics" in options else ("--metrics", "127.0.0.1:0")
    command = [sys.executable, "-m", "turnout_server", "serve", "--store", str(store)]
    return Launch(
        [*command, "--listen", f"127.0.0.1:{port}", *metrics, *options], port, paths("server", "clients/python")
    )


def paths(*folders: str) -> dict[str, str]:
    """Return the environment in which Python finds what is in these folders of the repository."""
    return {"PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in folders)}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def cpu_s(pid: int) -> float:
    """Return the CPU seconds, user and system, that process *pid* and its descendants have used.

    Those that have ended and were waited for count too: else CPU would vanish with each.
    """
    process = psutil.Process(pid)
    times = (one.cpu_times() for one in (process, *process.children(recursive=True)))
    return float(sum(time.user + time.system + time.children_user + time.children_system for time in times))


def loops_cpu_s(pid: int) -> float:
    """Return the CPU seconds of process *pid*'s event loops: of its first thread, and of the engine's shards."""
    return sum(_thread_cpu_s(thread) for thread in Path(f"/proc/{pid}/task").iterdir() if _is_loop(pid, thread))


def _is_loop(pid: int, thread: Path) -> bool:
    return thread.name == str(pid) or _SHARD.fullmatch(_read(thread / "comm").strip()) is not None


def _thread_cpu_s(thread: Path) -> float:
    return int((_read(thread / "schedstat") or "0").split()[0]) / 1e9


def _read(path: Path) -> str:
    """Return what is in a file of a thread; nothing if that has just ended."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _peak_rss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _wait_until_it_answers(process: subprocess.Popen[bytes], address: str, body: bytes, problem: str) -> None:
    deadline = time.monotonic() + _START_S
    with grpc.insecure_channel(address, [("grpc.max_reconnect_backoff_ms", 500)]) as channel:
        infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        while True:
            try:
                infer(body, timeout=5)
                return
            except grpc.RpcError as error:
                last = error.code().name
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailedError(f"{problem} ({last})")
            time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop, then end whatever is left of the processes that it has started."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.kill()
    process.wait()
