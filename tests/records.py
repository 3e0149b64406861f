"""Records made up for tests."""

from __future__ import annotations

from typing import Any

from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.record import OK, Record

DECISION = Decision("price", "control", "price", 3, Reason.SPLIT, "control", -1, 0.5, "d1", "e1")


def record(decision: Decision | None = DECISION, code: str = OK, took_ns: int = 1, **fields: Any) -> Record:
    """Return the record of a request, decided as *decision* says."""
    fields.setdefault("seq", -1 if decision is None else 0)
    fields.setdefault("route", decision.route if decision is not None else "")
    return Record(arrived_ns=1_700_000_000 * 10**9, took_ns=took_ns, code=code, decision=decision, **fields)


def refused(route: str, code: str) -> Record:
    """Return the record of a request that ended before anybody was to answer it."""
    return record(None, code, route=route)
