"""Findings in words and numbers, as a terminal and a page show them. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout_server.experiments.findings import Findings, Interval, Verdict

UNKNOWN = "unknown"

_SAID = {
    "WIN": "{treatment} is better than {control}",
    "LOSS": "{treatment} is worse than {control}",
    "NO_HARM": "{treatment} does no harm beyond the margins, and nothing says that it is better than {control}",
    "INCONCLUSIVE": "nobody knows yet whether {treatment} is better than {control}",
    "INVALID": "nothing can be said of {treatment}",
}
_NOISE = 1e-7
"""A part of 1 that is smaller is what rounding left of nothing."""
_SHARES = ("proportion", "rare")


def sentence(found: Findings, verdict: Verdict) -> str:
    """Return a verdict in one sentence."""
    return f"{verdict.verdict}: {said(found, verdict)}"


def said(found: Findings, verdict: Verdict) -> str:
    """Return what a verdict says and why, without its name."""
    what = _SAID[verdict.verdict].format(treatment=verdict.treatment, control=control(found))
    return f"{what}: {'; '.join(verdict.reasons)}"


def control(found: Findings) -> str:
    """Return which arm the others are compared with."""
    return found.comparisons[0].control.name


def percent(part: float, *, signed: bool = False) -> str:
    """Return a part of 1 in percent, with the digits that count."""
    value = part * 100 if abs(part) >= _NOISE else 0.0
    size = abs(value)
    sign = "+" if signed else ""
    if 0 < size < 0.1:
        return f"{value:{sign}.2g}%"
    if size >= 1e6:
        return f"{part:{sign}.3g} times"
    return f"{value:{sign},.{2 if size < 9.995 else 1 if size < 99.95 else 0}f}%"


def level(value: float | None, kind: str) -> str:
    """Return an arm's value of a metric of some kind: a share in percent, anything else in its own unit."""
    if value is None or not _is_finite(value):
        return UNKNOWN
    return percent(value) if kind in _SHARES else f"{value + 0.0:.4g}"


def change(value: float | None, kind: str, *, is_relative: bool) -> str:
    """Return a difference: a part of control's value in percent, or shares in points, or the metric's own unit."""
    if value is None or not _is_finite(value):
        return UNKNOWN
    if is_relative:
        return percent(value, signed=True)
    return f"{value * 100 + 0.0:+.3g} points" if kind in _SHARES else f"{value + 0.0:+.3g}"


def interval(ends: Interval | None, kind: str, *, is_relative: bool) -> str:
    """Return an interval; an end that reaches to infinity is none."""
    if ends is None or math.isnan(ends.low) or math.isnan(ends.high):
        return UNKNOWN
    low, high = (change(end, kind, is_relative=is_relative) for end in (ends.low, ends.high))
    if _is_finite(ends.low) and _is_finite(ends.high):
        return f"{low} to {high}"
    if _is_finite(ends.low):
        return f"{low} or more"
    return f"{high} or less" if _is_finite(ends.high) else "any value"


def p_value(p: float | None) -> str:
    """Return a p-value with two digits that count."""
    if p is None or math.isnan(p):
        return "none"
    return f"{p:.2g}" if p else "under 1e-300"


def moment(at: datetime) -> str:
    """Return a time with a zone, in UTC, to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _is_finite(value: float) -> bool:
    """Say whether a number can be shown, in percent too."""
    return math.isfinite(value * 100)
