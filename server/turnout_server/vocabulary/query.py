"""What a caller asks of the data plane, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from turnout_server.vocabulary.decision import Served
from turnout_server.vocabulary.record import Timing
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Array, Arrays

EMPTY_HEADERS: Mapping[str, str] = {}


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


class Prediction(NamedTuple):
    """The answer to a query."""

    outputs: dict[str, Array]
    """The outputs wanted, in the order wanted. May be views into a batch: copy before writing."""
    served: Served
    signature: Signature
    timing: Timing
