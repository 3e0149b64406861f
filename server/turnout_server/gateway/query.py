"""What a caller asks of the data plane, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from turnout_server.routing.route import Reason
from turnout_server.store.manifest import Signature, Task
from turnout_server.tensors import Array, Arrays

EMPTY_HEADERS: Mapping[str, str] = {}


class Served(NamedTuple):
    """Which version answered, and why: part of every answer."""

    route: str
    """Empty when a model was named outright."""
    target: str
    model: str
    version: int
    reason: Reason


@dataclass(slots=True, kw_only=True)
class Query:
    """One request, whichever service it came in by."""

    name: str
    """A route, or a model."""
    version: str = ""
    """Empty, a version number, or a label; setting it pins the request."""
    prepare: Callable[[Signature], Arrays]
    """Makes the named input arrays for the version that was assigned.

    Raises a `TurnoutError` where the request does not fit the signature. What it returns fits: every input of the
    signature is there, with its dtype, rank and fixed sizes, and with one batch size where the signature is batched.
    """
    outputs: tuple[str, ...] = ()
    """The outputs wanted, in this order; empty for all."""
    task: Task | None = None
    """The task that the typed service needs; None where any will do."""
    unit: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY_HEADERS)
    """Request metadata that overrides may look at, names in lower case."""
    deadline: float | None = None
    """On the clock of `time.monotonic`, in seconds; None for no deadline."""
    priority: int = 0
    """Triton's: 0 is the default, 1 the highest, greater is lower."""


class Timing(NamedTuple):
    """Where one request's time went, in nanoseconds on the clock of `time.monotonic_ns`."""

    queue_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int
    rows: int
    """Rows in the batch that the request ran in; 0 when it did not run."""
    started_ns: int
    """When the run began; 0 when it did not."""


class Prediction(NamedTuple):
    """The answer to a query."""

    outputs: dict[str, Array]
    """The outputs wanted, in the order wanted. May be views into a batch: copy before writing."""
    served: Served
    signature: Signature
    timing: Timing
