"""What is asked of the load generator, and what it finds."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Load to put on one server."""

    target: str
    """HOST:PORT."""
    pid: int
    """The server's first process; its descendants' CPU counts too."""
    requests: tuple[bytes, ...]
    concurrency: int
    seconds: float
    warmup_s: float
    expected: tuple[bytes, ...] = ()
    """The raw contents of each answer, one after the other; empty where nobody compares them. Floats may be off by a
    thousandth. The generator in Python does not look."""


class Measures(Protocol):
    """What does jobs: one of the load generators."""

    def measure(self, job: Job) -> Measurement:
        """Do *job*.

        Raises:
            ServerFailedError: nothing was answered, or the generator has failed.
        """


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What one job found; latencies in seconds."""

    throughput: float
    """OK answers a second."""
    p50: float
    p95: float
    p99: float
    server_cpu: float
    """CPU seconds of the server's processes per call."""
    generator_cpu: float
    """CPU seconds of the load generator per call."""
    generator_bound: bool
    """Whether the generator used up its core, so that the server might have done more."""
    answers: int
    """Calls that ended, without the warm-up's."""
    errors: int
    """Calls that failed or were never answered, of those."""
    others_cpu: float
    """Cores that everything else on the machine used meanwhile, the kernel's work for the network included."""
    codes: dict[str, int]
    """Answers by the name of the gRPC status code."""
