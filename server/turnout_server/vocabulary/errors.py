"""What can go wrong, said once.

Every error carries a stable `reason` that callers may match on, and a `kind` that says whose move it is.
Nothing here knows a transport: `turnout_server.transport.status` turns a kind into a status code.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

MOST_NAMED = 16
"""Names that one message has room for."""


def enumerated(names: Sequence[str]) -> str:
    """Return names for a message, quoted; how many more there are, where there are many."""
    shown = ", ".join(repr(name) for name in names[:MOST_NAMED])
    return f"{shown} and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else shown


class Kind(enum.Enum):
    """What class of failure an error is, independent of any transport."""

    INVALID = "invalid"
    """The request is wrong; sending it again unchanged cannot help."""
    NOT_FOUND = "not_found"
    """The request names something that does not exist."""
    CONFLICT = "conflict"
    """The request does not fit the present state; look again before retrying."""
    PRECONDITION = "precondition"
    """The place is not in a state that allows it, and retrying changes nothing."""
    UNAVAILABLE = "unavailable"
    """It exists and should work soon; retrying may help."""
    OVERLOADED = "overloaded"
    """There is no room; retry after `retry_after_s`."""
    EXPIRED = "expired"
    """The caller's deadline has passed."""
    CANCELLED = "cancelled"
    """The caller has gone."""
    UNSUPPORTED = "unsupported"
    """This server does not do that."""
    UNAUTHENTICATED = "unauthenticated"
    """It is not known who calls."""
    FORBIDDEN = "forbidden"
    """This server is configured not to do that."""
    INTERNAL = "internal"
    """Ours. The details stay in the log."""


class TurnoutError(Exception):
    """The root of every error that Turnout raises on purpose; its text is meant for the caller."""

    reason: ClassVar[str] = "INTERNAL"
    kind: ClassVar[Kind] = Kind.INTERNAL

    def __init__(self, message: str, **details: str) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, str] = details
        """Facts for programs, keyed by stable lowerCamelCase names."""

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which a retry makes sense, where that is known."""
        return None


class ConfigurationError(TurnoutError):
    """The process was started or configured wrongly."""

    reason = "CONFIGURATION_INVALID"
    kind = Kind.INVALID


# ---------------------------------------------------------------- requests


class InvalidRequestError(TurnoutError):
    """The request is malformed in a way that has no narrower name."""

    reason = "REQUEST_INVALID"
    kind = Kind.INVALID


class InvalidInputError(InvalidRequestError):
    """An input tensor is missing, unknown, doubled, or of the wrong dtype, shape or size."""

    reason = "INPUT_INVALID"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"input {name!r}: {problem}", input=name)

    @classmethod
    def missing(cls, names: Sequence[str]) -> Self:
        """Return the error that says that all of these inputs are missing; the first is in its details."""
        if len(names) == 1:
            return cls(names[0], "is missing")
        return cls(names[0], f"is missing, as {'is' if len(names) == 2 else 'are'} {enumerated(names[1:])}")


class TooLargeError(InvalidRequestError):
    """An input has more rows, or all of them have more elements, than the version takes in one request."""

    reason = "REQUEST_TOO_LARGE"

    def __init__(self, name: str, shape: Sequence[int], problem: str) -> None:
        super().__init__(f"input {name!r} of shape {list(shape)}: {problem}", input=name)


class UnknownOutputError(InvalidRequestError):
    """The request asks for an output that the model does not have."""

    reason = "OUTPUT_UNKNOWN"

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no output named {name!r}; the model has {enumerated(known)}", output=name)


class UnknownFeatureError(InvalidRequestError):
    """A typed request carries a feature that the model does not know."""

    reason = "FEATURE_UNKNOWN"

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no feature named {name!r}; the model knows {enumerated(known)}", feature=name)


class MissingFeatureError(InvalidRequestError):
    """A typed request lacks a feature for which the manifest has no default."""

    reason = "FEATURE_MISSING"

    def __init__(self, name: str, *others: str) -> None:
        message = f"feature {name!r} is missing and the model has no default for it"
        if others:
            message = f"features {enumerated((name, *others))} are missing and the model has no defaults for them"
        super().__init__(message, feature=name)


class InvalidFeatureError(InvalidRequestError):
    """A feature's values are of the wrong type or number."""

    reason = "FEATURE_INVALID"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"feature {name!r}: {problem}", feature=name)


class IncompleteError(InvalidRequestError):
    """A request lacks features or inputs for which the model has no defaults; all of them are named."""

    reason = "INPUT_MISSING"

    def __init__(self, features: Mapping[str, str], inputs: Mapping[str, str]) -> None:
        named = [f"feature {name!r} ({what})" for name, what in features.items()]
        named += [f"input {name!r} ({what})" for name, what in inputs.items()]
        listed, more = named[:MOST_NAMED], len(named) - MOST_NAMED
        last = f"{more} more" if more > 0 else listed.pop()
        what = f"{', '.join(listed)} and {last} are" if listed else f"{last} is"
        defaults = "defaults for them" if listed else "default for it"
        details = {kind: next(iter(names)) for kind, names in (("feature", features), ("input", inputs)) if names}
        super().__init__(f"{what} missing, and the model has no {defaults}", **details)


class TaskMismatchError(InvalidRequestError):
    """A typed call went to a route or model of another task."""

    reason = "TASK_MISMATCH"

    def __init__(self, name: str, task: str, wanted: str) -> None:
        super().__init__(f"{name!r} does {task or 'no named task'}, not {wanted}", task=task, wanted=wanted)


class DeadlineExpiredError(TurnoutError):
    """The caller's deadline passed before the answer was there."""

    reason = "DEADLINE_EXPIRED"
    kind = Kind.EXPIRED

    def __init__(self) -> None:
        super().__init__("the deadline passed before the model ran")


class DeadlineUnreachableError(TurnoutError):
    """The answer cannot be there before the caller's deadline, so the model is not run for it."""

    reason = "DEADLINE_UNREACHABLE"
    kind = Kind.EXPIRED

    def __init__(self, left_s: float, needed_s: float) -> None:
        super().__init__(
            f"{left_s * 1000:.0f} ms are left, and the wait and the run should take {needed_s * 1000:.0f} ms",
            left_ms=f"{left_s * 1000:.1f}",
            needed_ms=f"{needed_s * 1000:.1f}",
        )


class QueueFullError(TurnoutError):
    """A model's queue has no room."""

    reason = "QUEUE_FULL"
    kind = Kind.OVERLOADED

    def __init__(self, model: str, version: int, retry_after_s: float) -> None:
        super().__init__(f"the queue of {model} version {version} is full", model=model, version=str(version))
        self._retry_after_s = retry_after_s

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which the queue should have drained."""
        return self._retry_after_s


class OutcomesOffError(TurnoutError):
    """This gateway keeps no journal, and so no outcomes."""

    reason = "OUTCOMES_OFF"
    kind = Kind.PRECONDITION

    def __init__(self) -> None:
        super().__init__("this gateway takes no outcomes; journal.path names the folder where it would keep them")


class OutcomesUnavailableError(TurnoutError):
    """Outcomes cannot be kept at the moment, so none is acknowledged. Sending them again does no harm."""

    reason = "OUTCOMES_UNAVAILABLE"
    kind = Kind.UNAVAILABLE

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which it is tried again."""
        return 1.0


class ShuttingDownError(TurnoutError):
    """The server is going away; another one will answer."""

    reason = "SHUTTING_DOWN"
    kind = Kind.UNAVAILABLE

    def __init__(self) -> None:
        super().__init__("the server is shutting down")


class NotSupportedError(TurnoutError):
    """The protocol has this call; Turnout does not."""

    reason = "NOT_SUPPORTED"
    kind = Kind.UNSUPPORTED


class ChangesDisabledError(TurnoutError):
    """The server was started without permission to change the store."""

    reason = "CHANGES_DISABLED"
    kind = Kind.FORBIDDEN

    def __init__(self) -> None:
        super().__init__("this server does not accept changes; start it with --allow-changes")


class RoutesElsewhereError(TurnoutError):
    """This gateway's route table is not the store's."""

    reason = "ROUTES_ELSEWHERE"
    kind = Kind.PRECONDITION

    def __init__(self) -> None:
        super().__init__(
            "this gateway reads its route table from a file outside the store (store.routes): change that file"
        )


class ModelFailedError(TurnoutError):
    """The model itself failed on this request; the log has the details."""

    reason = "MODEL_FAILED"
    kind = Kind.INTERNAL

    def __init__(self, model: str, version: int) -> None:
        super().__init__(f"{model} version {version} failed on this request", model=model, version=str(version))


class RunTimedOutError(TurnoutError):
    """A run of the model took longer than it may, and was ended."""

    reason = "RUN_TIMED_OUT"
    kind = Kind.INTERNAL

    def __init__(self, model: str, version: int) -> None:
        super().__init__(
            f"{model} version {version} ran for longer than it may (run_timeout_s), and was ended",
            model=model,
            version=str(version),
        )


class ModelRejectedInputError(InvalidRequestError):
    """The graph refused values that its signature allows (an index out of range, sizes that do not agree)."""

    reason = "INPUT_REJECTED"

    def __init__(self, model: str, version: int, problem: str) -> None:
        super().__init__(f"{model} version {version} rejected the input: {problem}", model=model, version=str(version))


class SharedMemoryDisabledError(TurnoutError):
    """The server was started without permission to use system shared memory."""

    reason = "SHARED_MEMORY_DISABLED"
    kind = Kind.FORBIDDEN

    def __init__(self) -> None:
        super().__init__("this server does not use shared memory; start it with allow_shared_memory")


class SharedMemoryRegionNotFoundError(TurnoutError):
    """No shared memory region of that name is registered."""

    reason = "SHARED_MEMORY_REGION_NOT_FOUND"
    kind = Kind.NOT_FOUND

    def __init__(self, region: str) -> None:
        super().__init__(f"no shared memory region named {region!r} is registered", region=region)


class SharedMemoryRegionExistsError(TurnoutError):
    """A shared memory region of that name is registered already."""

    reason = "SHARED_MEMORY_REGION_EXISTS"
    kind = Kind.CONFLICT

    def __init__(self, region: str) -> None:
        super().__init__(f"a shared memory region named {region!r} is registered already", region=region)


# ---------------------------------------------------------------- names


class RouteNotFoundError(TurnoutError):
    """No route, and no model, answers to the requested name."""

    reason = "ROUTE_NOT_FOUND"
    kind = Kind.NOT_FOUND

    def __init__(self, route: str) -> None:
        super().__init__(f"no route or model named {route!r}", route=route)
        self.route = route


class ModelNotFoundError(TurnoutError):
    """The store has no such model."""

    reason = "MODEL_NOT_FOUND"
    kind = Kind.NOT_FOUND

    def __init__(self, model: str) -> None:
        super().__init__(f"no model named {model!r}", model=model)
        self.model = model


class VersionNotFoundError(TurnoutError):
    """The model has no such version."""

    reason = "VERSION_NOT_FOUND"
    kind = Kind.NOT_FOUND

    def __init__(self, model: str, version: int | str) -> None:
        super().__init__(f"model {model!r} has no version {version!r}", model=model, version=str(version))


class LabelNotFoundError(TurnoutError):
    """The model has no such label."""

    reason = "LABEL_NOT_FOUND"
    kind = Kind.NOT_FOUND

    def __init__(self, model: str, label: str) -> None:
        super().__init__(f"model {model!r} has no label {label!r}", model=model, label=label)


class VersionUnavailableError(TurnoutError):
    """The version exists but is not being served: still loading, being unloaded, or broken."""

    reason = "VERSION_UNAVAILABLE"
    kind = Kind.UNAVAILABLE

    def __init__(self, model: str, version: int | str, state: str) -> None:
        which = f"model {model!r} version {version}" if version else repr(model)
        super().__init__(f"{which} is not available: {state}", model=model, version=str(version))
        self.state = state


# ---------------------------------------------------------------- the store and the route table


class StoreError(TurnoutError):
    """The store cannot be read or written."""

    reason = "STORE_UNREADABLE"
    kind = Kind.UNAVAILABLE
    place = ""
    """The path on this machine, for who owns it; no caller gets to see it."""


class StoreReadOnlyError(StoreError):
    """This process may not write the store; the message says why."""

    reason = "STORE_READ_ONLY"
    kind = Kind.PRECONDITION


class InvalidNameError(TurnoutError):
    """A model's, label's, route's or target's name is not allowed."""

    reason = "NAME_INVALID"
    kind = Kind.INVALID


class InvalidManifestError(TurnoutError):
    """A manifest is not what this release can read; the message names the place."""

    reason = "MANIFEST_INVALID"
    kind = Kind.INVALID


class DigestMismatchError(TurnoutError):
    """A file of a version is not the file that was published."""

    reason = "DIGEST_MISMATCH"
    kind = Kind.CONFLICT

    def __init__(self, model: str, version: int, file: str, problem: str) -> None:
        super().__init__(f"{model} version {version}: {file}: {problem}", model=model, version=str(version), file=file)


class InvalidModelError(TurnoutError):
    """A model's graph is broken, or does not do what its manifest says."""

    reason = "MODEL_INVALID"
    kind = Kind.INVALID


class InvalidRouteTableError(TurnoutError):
    """A route table is wrong somewhere and was refused whole; `place` is a JSON path."""

    reason = "ROUTE_TABLE_INVALID"
    kind = Kind.INVALID

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}", place=place)
        self.place = place


class StaleWriteError(TurnoutError):
    """Somebody else changed it since it was read."""

    reason = "STALE_WRITE"
    kind = Kind.CONFLICT
