"""What may leave the house: texts and log lines without units, features and secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

LEFT_OUT = "(left out)"

_KEPT = frozenset(
    {
        "calls",
        "code",
        "count",
        "digest",
        "doing",
        "event",
        "event_kind",
        "exception",
        "failing",
        "for_s",
        "level",
        "logger",
        "method",
        "model",
        "name",
        "problem",
        "problems",
        "reader",
        "reason",
        "route",
        "routes",
        "run_timeout_s",
        "said",
        "seconds",
        "span_id",
        "state",
        "status",
        "target",
        "task",
        "timestamp",
        "trace_id",
        "version",
        "versions",
        "waited_s",
        "waiting",
        "what",
        "why",
    }
)
"""What the gateway's own log lines may have. Of anything else only the name is kept: nobody knows what it is."""
_FRAME = ("filename", "lineno", "name")

_CREDENTIALS = re.compile(r"(\w://)[^\s/@]*@")
_SECRET = re.compile(
    r"((?:authorization|password|passwd|secret|token|api[_-]?key|cookie)[\"']?\s*[:=]\s*)"
    r"(?:(?:bearer|basic)\s+)?(?:\"[^\"]*\"|'[^']*'|[^\s,;]+)",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r"(\bunits?(?:_id)?(?:\[\d+\])?[\"']?\s*[:=]\s*(?:.*?\bfound )?)(?:\"[^\"]*\"|'[^']*'|[^\s,;]+)", re.IGNORECASE
)
"""`unit=customer-7`, `"unit_id": "customer-7"`, and `$.routes.a.overrides[0].when.unit: Expected ...; found 'vip'`."""


def text(given: str) -> str:
    """Return a text without credentials in addresses, what is called a secret, and units."""
    for pattern in (_CREDENTIALS, _SECRET, _UNIT):
        given = pattern.sub(lambda found: f"{found[1]}{LEFT_OUT}" + ("@" if found[0].endswith("@") else ""), given)
    return given


def log(lines: Iterable[str]) -> list[str]:
    """Return log lines: of JSON what the gateway itself says, of others the text, as `text` has it."""
    return [_line(line) for line in lines]


def _line(line: str) -> str:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return text(line)
    if not isinstance(event, dict):
        return text(line)
    kept = {key: _value(key, value) if key in _KEPT else LEFT_OUT for key, value in event.items()}
    return json.dumps(kept, ensure_ascii=False)


def _value(key: str, value: Any) -> Any:
    if key == "exception":
        # What an exception says may be what a caller sent; where it came from is the program's.
        return [_exception(one) for one in value] if isinstance(value, list) else LEFT_OUT
    return _plain(value)


def _exception(one: Any) -> Any:
    if not isinstance(one, dict):
        return LEFT_OUT
    frames = [frame for frame in one.get("frames") or () if isinstance(frame, dict)]
    return {
        "exc_type": one.get("exc_type"),
        "frames": [{field: frame.get(field) for field in _FRAME} for frame in frames],
    }


def _plain(value: Any) -> Any:
    match value:
        case str():
            return text(value)
        case list():
            return [_plain(each) for each in value]
        case dict():
            return {text(str(key)): _plain(each) for key, each in value.items()}
        case _:
            return value
