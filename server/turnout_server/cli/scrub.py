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

_VALUE = r"(?:\"[^\"]*\"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|[^\s,;&]+)"
_SECRETS = (
    r"[\w-]*(?:secret|passw(?:or)?d|passphrase|pwd|token(?!iz)|credential|authorization|cookie|signature|jwt"
    r"|(?:api|access|private)[_-]?key|\bsig\b)[\w-]*"
)
"""Names of what is nobody's business, whatever stands around them."""
_LEFT_OUT = (
    # In addresses, up to the last `@`: passwords may have some.
    re.compile(r"(\w://)[^\s/]*(?=@)"),
    # `name=x`, `"name": "x"`, `('name', 'x')`, `key='name', value='x'`.
    re.compile(
        rf"({_SECRETS}(?:[\"']?\s*[:=]\s*|[\"']\s*,\s*(?:value\s*=\s*)?)(?:(?:bearer|basic|token)\s+)?){_VALUE}",
        re.IGNORECASE,
    ),
    re.compile(rf"(--{_SECRETS}\s+)(?!-){_VALUE}", re.IGNORECASE),
    re.compile(r"(\bbearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE),
    # Of a route table's overrides, whose values are units and headers: $.routes.a.overrides[0].when: ... found 'x'.
    re.compile(r"(overrides\[\d+\][^\n]*?\bfound )[^\n]+"),
    # `unit=customer-7`, `"unit_id": "customer-7"`, `units=['a', 'b']`.
    re.compile(rf"(\bunits?(?:_ids?)?(?:\[\d+\])?[\"']?\s*[:=]\s*)(?!Expected\b){_VALUE}", re.IGNORECASE),
)


def text(given: str) -> str:
    """Return a text without credentials in addresses, what is called a secret, and units."""
    for pattern in _LEFT_OUT:
        given = pattern.sub(rf"\g<1>{LEFT_OUT}", given)
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
