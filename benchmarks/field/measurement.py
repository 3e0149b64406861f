"""What is asked of the load generator, and what it finds."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Load to put on one server."""

    target: str
    """HOST:PORT; for ONNX Runtime by itself, the folder of the models."""
    pid: int
    """The server's first process; its descendants' CPU counts too."""
    requests: tuple[bytes, ...]
    concurrency: int
    seconds: float
    warmup_s: float
    method: str
    """package.Service/Method."""
    sampled: float = 0.0
    """The share of calls whose trace is sampled. The generator in Python sends no traces."""
    expected: tuple[bytes, ...] = ()
    """What `field` of each answer has, one after the other where it is repeated; empty where nobody compares them. The
    generator in Python does not look."""
    field: int = 6
    """The raw contents of a `ModelInferResponse`."""
    nearly: bool = True
    """Whether floats may be off by a thousandth, as they are when rows are computed together."""


class Measures(Protocol):
    """What does jobs: one of the load generators, or ONNX Runtime by itself."""

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
