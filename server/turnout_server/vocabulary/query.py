"""What a caller asks, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from turnout_server.vocabulary.ask import Ask
from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.record import Timing
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.tensors import Array, Arrays
from turnout_server.vocabulary.units import UNIT_LIMIT, check_unit

Prepare = Callable[[Signature], Arrays]
"""Makes the named input arrays for a version.

Raises a `TurnoutError` where the request does not fit the signature. What it returns fits: every input of the signature
is there, with its dtype, rank and fixed sizes, and with one batch size where the signature is batched.
"""


class Query(Ask, frozen=True, kw_only=True):
    """One request, whichever service it came in by.

    Raises:
        InvalidRequestError: as `Ask`, or the request's id is longer than a unit may be.
    """

    prepare: Prepare
    """For the version that was assigned."""
    outputs: tuple[str, ...] = ()
    """The outputs wanted, in this order; empty for all."""
    request_id: str = ""
    """The caller's; empty where it has none."""
    principal: str = ""
    """Who called, as authenticated."""
    deadline: float | None = None
    """On the clock of `time.monotonic`, in seconds; None for no deadline."""
    priority: int = 0
    """Triton's: 0 is the default, 1 the highest, greater is lower."""

    def __post_init__(self) -> None:
        """Check what every way in has to check."""
        Ask.__post_init__(self)
        if len(self.request_id) > UNIT_LIMIT:
            check_unit(self.request_id, "request id")


class Prediction(NamedTuple):
    """The answer to a query."""

    outputs: dict[str, Array]
    """The outputs wanted, in the order wanted. May be views into a batch: copy before writing."""
    decision: Decision
    request_id: str
    """The caller's, else ours."""
    signature: Signature
    timing: Timing
