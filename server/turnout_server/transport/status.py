"""Errors as gRPC statuses, in this one place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from turnout_server.vocabulary.errors import (
    DeadlineExpiredError,
    DeadlineUnreachableError,
    InvalidModelError,
    Kind,
    ModelFailedError,
    ModelRejectedInputError,
    QueueFullError,
    TurnoutError,
)
from turnout_server.vocabulary.record import CANCELLED, OK

DOMAIN = "turnout"
"""The domain of every reason; see google.rpc.ErrorInfo."""
_DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
"""The trailer by which gRPC's own retries are told when, or with a negative number that they are not to be."""
_LONGEST_MESSAGE = 1024
"""Bytes of UTF-8. A status travels, twice, in headers of 8 KiB in all, where each byte may take three."""
_LONGEST_DETAIL = 256
"""Bytes of UTF-8."""
_KEPT = 512
"""Refusals that are made once."""

CODES = {
    Kind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Kind.CONFLICT: grpc.StatusCode.ABORTED,
    Kind.PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Kind.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.EXPIRED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Kind.CANCELLED: grpc.StatusCode.CANCELLED,
    Kind.UNSUPPORTED: grpc.StatusCode.UNIMPLEMENTED,
    Kind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Kind.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Kind.INTERNAL: grpc.StatusCode.INTERNAL,
}


_NATIVE: Final[Sequence[type[TurnoutError]]] = (
    DeadlineExpiredError,
    DeadlineUnreachableError,
    InvalidModelError,
    ModelFailedError,
    ModelRejectedInputError,
    QueueFullError,
)
_NAMES: Final = {OK: "OK", CANCELLED: "CANCELLED"} | {error.reason: CODES[error.kind].name for error in _NATIVE}


def name_of_reason(reason: str) -> str:
    """Return the gRPC code's name of a call that the engine answered, by the reason that its caller was told."""
    return _NAMES.get(reason, grpc.StatusCode.INTERNAL.name)


class Status(NamedTuple):
    """What goes over the wire for an error."""

    code: grpc.StatusCode
    message: str
    trailers: tuple[tuple[str, str | bytes], ...]


INTERNAL = Status(grpc.StatusCode.INTERNAL, "internal error; the server's log has the details", ())
"""For what was not raised on purpose: its text may say anything, so none of it goes out."""


def status_of(error: BaseException) -> Status:
    """Return the status that tells a caller about *error*."""
    if not isinstance(error, TurnoutError):
        return INTERNAL
    facts = error.kind, error.reason, error.message, tuple(error.details.items())
    delay = error.retry_after_s
    # Refusals are many and alike, and have no text of a caller's in them, which is what else there is in messages.
    return _status(*facts, None) if delay is None else _refusal(*facts, delay)


def _status(kind: Kind, reason: str, text: str, facts: tuple[tuple[str, str], ...], delay: float | None) -> Status:
    code = CODES[kind]
    message = _shortened(text, _LONGEST_MESSAGE)
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    for key, value in facts:
        info.metadata[key] = _shortened(value, _LONGEST_DETAIL)
    details = [_packed(info)]
    trailers: list[tuple[str, str | bytes]] = []
    if delay is not None:
        nanos = round(delay * 1e9)
        seconds = duration_pb2.Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=seconds)))
        trailers.append((PUSHBACK_KEY, str(math.ceil(delay * 1000))))
    rich = status_pb2.Status(code=code.value[0], message=message, details=details)
    trailers.append((_DETAILS_KEY, rich.SerializeToString()))
    return Status(code, message, tuple(trailers))


_refusal = lru_cache(_KEPT)(_status)


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _shortened(text: str, limit: int) -> str:
    raw = text.encode("utf-8", "replace")
    return raw.decode() if len(raw) <= limit else f"{raw[: limit - 3].decode(errors='ignore')}..."
