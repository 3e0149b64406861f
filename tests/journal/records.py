"""Records as the gateway offers them."""

from __future__ import annotations

from typing import Any

from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.record import OK, Record

KEY = b"sixteen bytes or"
ARRIVED_NS = 1_764_309_600_000_000_000
DECISION = Decision("price", "control", "price", 1, Reason.SPLIT, "control", -1, 0.5, "d" * 64, "e" * 16)


def record(seq: int, **values: Any) -> Record:
    plain = Record(seq, ARRIVED_NS + seq * 1000, 1_000_000, OK, DECISION, "price", f"unit-{seq}", f"r-{seq}", 1)
    return plain._replace(**values)


def unwritable(seq: int) -> Record:
    """Return a record that no column takes."""
    return record(seq, code=object())
