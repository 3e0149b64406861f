"""Whether the server's log says what it should: nothing is an error but what the keeper of the store did."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from tests.soak.keeper import Outage
from tests.soak.shelf import Shelf
from turnout_server.telemetry import repetitions

SLACK = timedelta(seconds=10)
"""How long after an outage it may still be spoken of: a load that began then goes on for a while on a busy machine."""
ERRORS = ("error", "critical")
_AWAY = "the store cannot be read; what is loaded goes on serving"
_FAILED = "version cannot be served"
_AGAIN = "logged again"
"""How often one of these was, since it was shown."""
_AGAIN_WITHIN = timedelta(seconds=repetitions.EVERY_S)


def check(log: str, shelf: Shelf, outages: Iterable[Outage]) -> list[str]:
    """Return what is wrong with a log of one JSON object a line."""
    outages = list(outages)
    problems = []
    for line in log.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            problems.append(f"the log has a line that is not JSON: {line[:300]}")
            continue
        if (record["level"] in ERRORS or "exception" in record) and not _expected(record, shelf, outages):
            problems.append(f"the log has an error: {line[:2000]}")
    return problems


def unloaded(log: str) -> list[tuple[str, int]]:
    """Return every version that was unloaded or, having failed, given up; as often as it was."""
    records = (json.loads(line) for line in log.splitlines() if '"version unloaded"' in line)
    return [(record["model"], record["version"]) for record in records]


def _expected(record: dict[str, Any], shelf: Shelf, outages: list[Outage]) -> bool:
    if "exception" in record:
        return False
    is_again = record["event"] == _AGAIN
    event = record["what"] if is_again else record["event"]
    if event == _FAILED and record["version"] in shelf.broken[record["model"]]:
        return True
    if event not in (_AWAY, _FAILED):
        return False
    at = datetime.fromisoformat(record["timestamp"])
    slack = SLACK + _AGAIN_WITHIN if is_again else SLACK
    return any(outage.began <= at <= outage.ended + slack for outage in outages)
