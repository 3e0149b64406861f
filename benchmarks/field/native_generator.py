"""The load generator in Rust, `benchmarks/loadgen/`: built where cargo is, and run once for each job."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.field.measurement import Job, Measurement
from benchmarks.machine import busy_s
from benchmarks.processes import ROOT, ServerFailedError

CRATE = ROOT / "benchmarks" / "loadgen"
TARGET = ROOT / "build" / "loadgen"
"""Where cargo builds it."""
CONNECTIONS = 8
"""At most: a caller of its own each, up to that."""
_BUILD_S = 600.0
_PATIENCE_S = 60.0
_BOUND_SHARE = 0.9
"""Of a core: who has used more may have been what was measured."""


class BuildError(Exception):
    """The generator cannot be built here; the text says why on one line."""


def build(target: Path = TARGET) -> Path:
    """Build the generator, if it is not built yet, and return the program.

    Raises:
        BuildError: there is no cargo, or it fails: without its registry, within seconds.
    """
    cargo = shutil.which("cargo")
    if cargo is None:
        raise BuildError("there is no cargo")
    command = [cargo, "build", "--release", "--locked", "--quiet", "--manifest-path", str(CRATE / "Cargo.toml")]
    kept = {name: value for name, value in os.environ.items() if name != "CARGO_BUILD_TARGET"}
    env = {"CARGO_NET_RETRY": "1", "CARGO_HTTP_TIMEOUT": "10"} | kept
    try:
        done = subprocess.run(
            [*command, "--target-dir", str(target)], capture_output=True, text=True, env=env, timeout=_BUILD_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"cargo: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise BuildError(f"cargo: {lines[0] if lines else f'exit code {done.returncode}'}")
    return target / "release" / "turnout-loadgen"


class NativeGenerator:
    """The program, one job after the other."""

    def __init__(self, program: Path) -> None:
        """Use *program*."""
        self._program = program

    def measure(self, job: Job) -> Measurement:
        """Do *job*.

        Raises:
            ServerFailedError: nothing was answered, or the generator has failed.
        """
        with tempfile.TemporaryDirectory() as directory:
            command = [str(self._program), *arguments(job, Path(directory))]
            started, busy = time.monotonic(), busy_s()
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=job.warmup_s + job.seconds + _PATIENCE_S
                )
            except subprocess.TimeoutExpired as error:
                raise ServerFailedError(f"{self._program.name} did not end") from error
            busy, took = busy_s() - busy, time.monotonic() - started
        if done.returncode:
            raise ServerFailedError(f"{self._program.name}: {done.stderr.strip()}")
        return measurement(msgspec.json.decode(done.stdout), busy, took)


def arguments(job: Job, directory: Path) -> list[str]:
    """Return what the program is called with for *job*; its messages are written into *directory*."""
    requests = directory / "requests"
    requests.write_bytes(framed(job.requests))
    given: dict[str, object] = {
        "--target": job.target,
        "--requests": requests,
        "--callers": job.concurrency,
        "--connections": min(job.concurrency, CONNECTIONS),
        "--seconds": job.seconds,
        "--warmup": job.warmup_s,
        "--pid": job.pid,
        "--method": job.method,
        "--sampled": job.sampled,
    }
    if job.expected:
        given |= {"--expect": directory / "expected", "--field": job.field}
        (directory / "expected").write_bytes(framed(job.expected))
    nearly = ["--nearly"] if job.expected and job.nearly else []
    return [*(str(part) for option in given.items() for part in option), *nearly]


def framed(messages: Iterable[bytes]) -> bytes:
    """Return *messages* as a gRPC stream carries them, uncompressed."""
    return b"".join(struct.pack(">BI", 0, len(message)) + message for message in messages)


def measurement(found: dict[str, Any], busy: float, took: float) -> Measurement:
    """Return what the program *found*.

    Args:
        found: its line of JSON.
        busy: CPU seconds that the machine spent from the program's start to its end.
        took: seconds from then to then.

    Raises:
        ServerFailedError: nothing was answered.
    """
    if not found["latency_us"]["count"]:
        raise ServerFailedError(f"nothing was answered: {found['errors']}")
    calls, errors = found["calls"], sum(found["errors"].values())
    p50, p95, p99 = (found["latency_us"][name] / 1e6 for name in ("p50", "p95", "p99"))
    server, own = found["server_cpu_us"] / 1e6, found["own_cpu_us"] / 1e6
    return Measurement(
        throughput=found["answers_per_s"],
        p50=p50,
        p95=p95,
        p99=p99,
        server_cpu=server,
        generator_cpu=own,
        generator_bound=found["own_cpu_share"] > _BOUND_SHARE,
        answers=calls,
        errors=errors,
        # The warm-up is in what the machine has spent: as busy as the rest, so shares are compared.
        others_cpu=max(0.0, busy / took - (server + own) * calls / found["seconds"]),
        codes={"OK": found["answers"]} | found["errors"],
    )
