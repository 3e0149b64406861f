"""What a run of the load generator is to do."""

from __future__ import annotations

import math
from dataclasses import dataclass

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
MODEL_METADATA = "/inference.GRPCInferenceService/ModelMetadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run: what to send, to whom, how hard, and for how long.

    Without `rate` the loop is closed: each of `concurrency` callers sends its next request when its last is answered.
    With `rate` it is open: requests leave at constant intervals whether or not earlier ones were answered,
    `concurrency` is not used, and latency counts from when a request was due. A server that stalls can then not slow
    down its own measurement.

    Raises:
        ValueError: a value is out of its range.
    """

    target: str
    """HOST:PORT."""
    requests: tuple[bytes, ...]
    """Serialised messages, sent in turn; at least one."""
    method: str = MODEL_INFER
    concurrency: int = 8
    """Callers, at least 1."""
    rate: float | None = None
    """Requests a second; None is a closed loop."""
    seconds: float = 3.0
    """How long to measure, after the warm-up."""
    warmup_s: float = 0.5
    """How long to send before measuring, in seconds."""
    metadata: tuple[tuple[str, str], ...] = ()
    """Sent with each call."""
    connections: int = 1
    """TCP connections; callers take them in turn."""
    timeout_s: float | None = None
    """Each call's deadline in seconds; None is none."""
    drain_s: float = 10.0
    """How long to wait at the end for what is still on its way, in seconds."""

    def __post_init__(self) -> None:
        _require(bool(self.target), "target", "an address", self.target)
        _require(bool(self.requests), "requests", "at least one", self.requests)
        _require(self.method.count("/") == 2 and self.method.startswith("/"), "method", "/SERVICE/METHOD", self.method)
        _require(self.concurrency >= 1, "concurrency", "1 or more", self.concurrency)
        _require(self.connections >= 1, "connections", "1 or more", self.connections)
        _require(_positive(self.seconds), "seconds", "more than 0", self.seconds)
        _require(self.rate is None or _positive(self.rate), "rate", "more than 0", self.rate)
        _require(self.timeout_s is None or _positive(self.timeout_s), "timeout_s", "more than 0", self.timeout_s)
        for name, value in (("warmup_s", self.warmup_s), ("drain_s", self.drain_s)):
            _require(value == 0 or _positive(value), name, "0 or more", value)


def _positive(value: float) -> bool:
    return value > 0 and math.isfinite(value)


def _require(holds: bool, name: str, expected: str, found: object) -> None:
    if not holds:
        raise ValueError(f"{name}: expected {expected}, found {found!r}")
