"""One thing that a unit did later, as a caller tells it, and whether it can be taken."""

from __future__ import annotations

import enum
import math
import re
from typing import Final, NamedTuple

from turnout_server.vocabulary.names import NAME_PATTERN
from turnout_server.vocabulary.units import UNIT_LIMIT

ID_LIMIT = 128
"""Bytes of an outcome's id, in UTF-8."""
AHEAD_US = 5 * 60 * 1_000_000
"""How far ahead of this machine's clock an event may be, in microseconds: clocks differ, the future does not count."""
EARLIEST_US = 946_684_800_000_000
"""2000-01-01, UTC, in microseconds since the epoch: what is older is a clock that was never set, or another unit."""
_NAME: Final = re.compile(NAME_PATTERN)


class Outcome(NamedTuple):
    """What a unit did."""

    outcome_id: str
    """The caller's, the same whenever it is sent again."""
    unit: str
    """Who did it, as it was called when it was served; empty where the request says who."""
    request_id: str
    """After which request; empty where the unit is named."""
    event_us: int | None
    """When, in microseconds since the epoch; None where that was not said."""
    name: str
    """What, as metrics call it: `order`."""
    value: float
    """How much: 1 for something that was done, an amount for revenue."""


class Fate(enum.Enum):
    """What became of an outcome that was sent."""

    ACCEPTED = "accepted"
    """It is kept."""
    DUPLICATE = "duplicate"
    """It was kept before."""
    REJECTED = "rejected"
    """It is not kept, and sending it again does not help."""


class Result(NamedTuple):
    """What became of it, and why."""

    fate: Fate
    reason: str = ""
    """A stable word for programs; empty where it was not rejected."""
    message: str = ""
    """A sentence for people, without anything of the caller's that may be secret."""


ACCEPTED: Final = Result(Fate.ACCEPTED)
DUPLICATE: Final = Result(Fate.DUPLICATE)
CONTENT_DIFFERS: Final = Result(
    Fate.REJECTED, "CONTENT_DIFFERS", "outcome_id: was taken before, with another content, which stays"
)


def check(outcome: Outcome, now_us: int) -> Result | None:
    """Return why *outcome* cannot be taken; None for one that can.

    Args:
        outcome: what came in.
        now_us: microseconds since the epoch.
    """
    outcome_id, unit, request_id, event_us, name, value = outcome
    if not outcome_id:
        return _rejected("ID_MISSING", "outcome_id: is empty; expected an id that stays the same when it is sent again")
    size = len(outcome_id.encode(errors="surrogatepass"))
    if size > ID_LIMIT:
        return _rejected("ID_TOO_LONG", f"outcome_id: {size} bytes; at most {ID_LIMIT} are allowed")
    if not unit and not request_id:
        return _rejected("NO_UNIT", "neither unit nor request_id is there; expected one of them")
    for field, text in (("unit", unit), ("request_id", request_id)):
        if len(text) > UNIT_LIMIT:
            return _rejected("UNIT_TOO_LONG", f"{field}: {len(text)} characters; at most {UNIT_LIMIT} are allowed")
    if _NAME.match(name) is None:
        return _rejected("NAME_INVALID", "name: expected 1 to 63 of a-z, 0-9, '.', '_', '-', the ends no sign")
    if not math.isfinite(value):
        return _rejected("NOT_FINITE", f"value: {value}; expected a finite number")
    if event_us is None:
        return _rejected("TIME_MISSING", "event_time: is missing; expected when it happened")
    if event_us > now_us + AHEAD_US:
        return _rejected("IN_THE_FUTURE", "event_time: more than five minutes ahead of this gateway's clock")
    if event_us < EARLIEST_US:
        return _rejected("BEFORE_2000", "event_time: before 2000-01-01T00:00:00Z")
    return None


def _rejected(reason: str, message: str) -> Result:
    return Result(Fate.REJECTED, reason, message)
