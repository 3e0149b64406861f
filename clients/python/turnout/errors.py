"""What can go wrong with a call, as exceptions that carry the server's stable reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from turnout import _wire


class TurnoutError(Exception):
    """A call that failed; its text is meant for people, its attributes for programs."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "UNKNOWN",
        reason: str = "",
        details: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        """The gRPC status code's name: `NOT_FOUND`."""
        self.reason = reason or code
        """The server's stable reason, `ROUTE_NOT_FOUND`; the code's name where the server gave none."""
        self.details = dict(details or {})
        """Facts that go with the reason: `{"route": "prices"}`."""
        self.retry_after = retry_after
        """Seconds after which the server expects a retry to make sense; None where it did not say."""


class InvalidRequestError(TurnoutError):
    """The request is wrong (INVALID_ARGUMENT, OUT_OF_RANGE) or too large; sending it again cannot help."""


class NotFoundError(TurnoutError):
    """The request names a route, model, version or label that does not exist (NOT_FOUND)."""


class ConflictError(TurnoutError):
    """The request does not fit the present state (ABORTED, ALREADY_EXISTS, FAILED_PRECONDITION); look again first."""


class ForbiddenError(TurnoutError):
    """The server does not let this caller do that (PERMISSION_DENIED, UNAUTHENTICATED)."""


class UnsupportedError(TurnoutError):
    """The server does not have this call (UNIMPLEMENTED)."""


class UnavailableError(TurnoutError):
    """The server cannot be reached, or what was asked for is not being served yet (UNAVAILABLE)."""


class OverloadedError(TurnoutError):
    """The server has no room (RESOURCE_EXHAUSTED); `retry_after` says when to come back."""


class DeadlineError(TurnoutError):
    """No answer came within the call's timeout (DEADLINE_EXCEEDED)."""


class ServerError(TurnoutError):
    """The server failed (INTERNAL, UNKNOWN, DATA_LOSS); its log has the details."""


_CLASSES: Mapping[str, type[TurnoutError]] = {
    "INVALID_ARGUMENT": InvalidRequestError,
    "OUT_OF_RANGE": InvalidRequestError,
    "NOT_FOUND": NotFoundError,
    "ABORTED": ConflictError,
    "ALREADY_EXISTS": ConflictError,
    "FAILED_PRECONDITION": ConflictError,
    "PERMISSION_DENIED": ForbiddenError,
    "UNAUTHENTICATED": ForbiddenError,
    "UNIMPLEMENTED": UnsupportedError,
    "UNAVAILABLE": UnavailableError,
    "RESOURCE_EXHAUSTED": OverloadedError,
    "DEADLINE_EXCEEDED": DeadlineError,
    "INTERNAL": ServerError,
    "UNKNOWN": ServerError,
    "DATA_LOSS": ServerError,
}


@dataclass(frozen=True, slots=True)
class StatusDetails:
    """What a `google.rpc.Status` in the trailing metadata says beyond code and message."""

    reason: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None


def from_rpc(error: grpc.RpcError, target: str, path: str, timeout: float | None) -> TurnoutError:
    """Turn what grpc raised into ours.

    Args:
        error: raised by a call of `grpc` or `grpc.aio`.
        target: whom the call went to.
        path: the method, `/turnout.v1.RankingService/Rank`.
        timeout: the call's timeout in seconds, None for none.
    """
    call: Any = error
    code: str = call.code().name
    message: str = call.details() or ""
    found = status_details(call.trailing_metadata())
    kind = _CLASSES.get(code, TurnoutError)
    reason = found.reason
    if not reason:
        if code == "RESOURCE_EXHAUSTED" and "larger than max" in message:
            kind, reason = InvalidRequestError, "MESSAGE_TOO_LARGE"
        message = _friendly(code, reason, message, target, path, timeout)
    return kind(message, code=code, reason=reason, details=found.details, retry_after=found.retry_after)


def status_details(trailing: Any) -> StatusDetails:
    """Read `google.rpc.ErrorInfo` and `RetryInfo` from *trailing* metadata; what cannot be read counts as absent."""
    packed = next((value for key, value in trailing or () if key == "grpc-status-details-bin"), None)
    if not isinstance(packed, bytes):
        return StatusDetails()
    reason, details, retry_after = "", {}, None
    try:
        for detail in _wire.Status.FromString(packed).details:
            match detail.type_url.rpartition("/")[2]:
                case "google.rpc.ErrorInfo":
                    info = _wire.ErrorInfo.FromString(detail.value)
                    reason, details = info.reason, {entry.key: entry.value for entry in info.metadata}
                case "google.rpc.RetryInfo":
                    delay = _wire.RetryInfo.FromString(detail.value).retry_delay
                    retry_after = delay.seconds + delay.nanos / 1e9
    except DecodeError:
        return StatusDetails()
    return StatusDetails(reason, details, retry_after)


def _friendly(code: str, reason: str, message: str, target: str, path: str, timeout: float | None) -> str:
    """Say what happened where no Turnout server said it: grpc itself failed, or something in between did."""
    if reason == "MESSAGE_TOO_LARGE":
        return f"{message}; `max_message_bytes` sets the client's limit, and the server has its own"
    if code == "DEADLINE_EXCEEDED":
        within = "in time" if timeout is None else f"within {timeout:g} s"
        return f"no answer from {target} to {path} {within}"
    if code == "UNIMPLEMENTED":
        return f"{target} does not have {path}; is it a Turnout gateway, of this release?"
    if code == "UNAVAILABLE":
        lowered = message.lower()
        if "connection refused" in lowered:
            return f"cannot reach {target}: connection refused; is `turnout serve` running?"
        if "resolving" in lowered or "resolution" in lowered:
            return f"cannot reach {target}: the name does not resolve"
        return f"{target} is unavailable: {message}"
    return message or f"{target} answered {path} with {code} and no message"
