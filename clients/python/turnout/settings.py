"""How a client connects: target, deadlines, retries, limits, and what travels with each call."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from turnout.calls import METHODS, Call
from turnout.errors import InvalidRequestError
from turnout.target import resolve

NO_DEADLINE = math.inf
"""A timeout that says outright: wait as long as it takes."""

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_RETRIES = 4
"""gRPC itself stops at five attempts."""

Metadata = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]
"""Request metadata; keys are lower case, and only those ending in `-bin` have bytes for values."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One call as grpc takes it."""

    payload: bytes
    timeout: float | None
    """Seconds; None is none."""
    metadata: tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one client was made with; the arguments are `Client`'s.

    Raises:
        TypeError, ValueError: an argument is not what `Client` describes.
    """

    target: str
    timeout: float = 10.0
    unit: str = ""
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    credentials: grpc.ChannelCredentials | None = None
    compression: grpc.Compression | None = None
    max_message_bytes: int = MAX_MESSAGE_BYTES
    retries: int = 3
    channel_options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", resolve(self.target, secure=self.credentials is not None))
        if not isinstance(self.unit, str):
            raise TypeError(f"unit must be text; found {self.unit!r}")
        _check_timeout(self.timeout)
        if not 0 <= self.retries <= MAX_RETRIES:
            raise ValueError(f"retries must be 0 to {MAX_RETRIES}; found {self.retries}")
        if self.max_message_bytes < 1:
            raise ValueError(f"max_message_bytes must be 1 or more; found {self.max_message_bytes}")

    def described(self, kind: str) -> str:
        """Return the `repr` of a client: nothing of its metadata, which may be secret."""
        tls = ", TLS" if self.credentials is not None else ""
        unit = f", unit={self.unit!r}" if self.unit else ""
        return f"<turnout.{kind} of {self.target}{tls}{unit}, timeout={self.timeout:g}>"

    def channel_arguments(self) -> tuple[tuple[str, Any], ...]:
        """Return the channel's options, as gRPC names them."""
        options: dict[str, Any] = {
            "grpc.service_config": json.dumps(service_config(self.retries)),
            "grpc.max_send_message_length": self.max_message_bytes,
            "grpc.max_receive_message_length": self.max_message_bytes,
            # A peer that vanished without a word is noticed within these times, rather than after TCP's minutes. No
            # pings without calls: servers that were not told to expect them hang up.
            "grpc.keepalive_time_ms": 60_000,
            "grpc.keepalive_timeout_ms": 5_000,
            # A restarted server is found again before the retries of `service_config` are used up, which takes from
            # 1.2 s on: in a rolling restart the next server may go as soon as this one is back.
            "grpc.initial_reconnect_backoff_ms": 100,
            "grpc.max_reconnect_backoff_ms": 1_000,
            "grpc.primary_user_agent": "turnout-python",
        }
        return tuple((options | dict(self.channel_options)).items())

    def unit_or(self, unit: str | None) -> str:
        """Return a call's unit: its own, else the client's."""
        return self.unit if unit is None else unit

    def outgoing(self, call: Call[Any], timeout: float | None, metadata: Metadata | None) -> Outgoing:
        """Return what *call* sends. A *timeout* of None is the client's; of one metadata key the last wins.

        Raises:
            InvalidRequestError: the request is larger than `max_message_bytes`.
            TypeError, ValueError: the timeout is not a positive number of seconds.
        """
        seconds = self.timeout if timeout is None else timeout
        _check_timeout(seconds)
        payload = call.request.SerializeToString()
        if len(payload) > self.max_message_bytes:
            # gRPC would refuse it too, but only after retrying.
            raise InvalidRequestError(
                f"the request has {len(payload)} bytes, and `max_message_bytes` is {self.max_message_bytes}",
                code="RESOURCE_EXHAUSTED",
                reason="MESSAGE_TOO_LARGE",
            )
        return Outgoing(
            payload,
            timeout=None if math.isinf(seconds) else seconds,
            metadata=tuple((trace_context() | dict(self.metadata) | dict(pairs(metadata))).items()),
        )


def service_config(retries: int) -> dict[str, Any]:
    """Return the service config: round robin over all addresses of a name, and retries where they do no harm.

    Safe methods are tried again on UNAVAILABLE, and on RESOURCE_EXHAUSTED, for which the gateway sends
    `grpc-retry-pushback-ms`, so that gRPC comes back when the gateway has room and not before. And on CANCELLED: that
    is what gRPC's server answers to calls that reach it in the last moment before it goes (grpc issue 41785); one that
    the caller itself cancels is not tried again. The call's deadline spans all attempts. Some fifty failures in a row
    stop all retries until calls succeed again (`retryThrottling`). Methods that change something are never sent twice.
    See gRFC A6.
    """
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.5},
    }
    if retries:
        config["methodConfig"] = [
            {
                "name": [{"service": method.service, "method": method.name} for method in METHODS if method.safe],
                "retryPolicy": {
                    "maxAttempts": retries + 1,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
                },
            }
        ]
    return config


def trace_context() -> dict[str, str | bytes]:
    """Return the current span's trace context (W3C `traceparent`, unless the process chose another propagator).

    A process that has not imported OpenTelemetry has no current span, so it is never imported on its behalf.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or not trace.get_current_span().get_span_context().is_valid:
        return {}
    from opentelemetry import propagate

    carrier: dict[str, str | bytes] = {}
    propagate.inject(carrier)
    return carrier


def pairs(metadata: Metadata | None) -> tuple[tuple[str, str | bytes], ...]:
    """Return *metadata* as pairs with keys in lower case, as HTTP/2 wants them."""
    found = metadata.items() if isinstance(metadata, Mapping) else metadata or ()
    return tuple((key.lower(), value) for key, value in found)


def _check_timeout(timeout: float) -> None:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be seconds, or NO_DEADLINE to wait for ever; found {timeout!r}")
    if not timeout > 0:
        raise ValueError(f"timeout must be more than 0 seconds; found {timeout}")
