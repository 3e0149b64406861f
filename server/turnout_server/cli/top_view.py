"""What `turnout top` shows: two readings of a gateway become rates, shares and percentiles."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nan
from typing import TypeVar

import msgspec

from turnout_server.cli import output
from turnout_server.cli.readings import Buckets, Reading, Served, Version

Key = TypeVar("Key")

_MOST_ERRORS = 8
"""No more kinds of errors are listed on the screen."""


class Row(msgspec.Struct, frozen=True):
    """One target of a route: what it did between two readings."""

    route: str
    """Empty for requests that name a model."""
    target: str
    model: str
    version: str
    rate: float
    """Requests that ended, a second."""
    share: float | None
    """Of the route's, 0 to 1; None where it had none."""
    failed: float
    """Of its own, 0 to 1."""
    p50_ms: float | None
    p99_ms: float | None
    codes: Mapping[str, float]
    """Those that failed, a second, by code."""


class Loaded(msgspec.Struct, frozen=True):
    """One version: how it is, and what waits for it."""

    model: str
    version: str
    state: str
    queue_rows: float
    wait_p99_ms: float | None


class Screen(msgspec.Struct, frozen=True):
    """All of it."""

    release: str
    seconds: float
    """Between the readings."""
    rate: float
    failed: float
    in_flight: float
    cpu: float
    """Cores."""
    memory: float
    """Bytes."""
    rows: tuple[Row, ...]
    versions: tuple[Loaded, ...]
    failed_loads: Mapping[str, float]
    """Loads that failed between the readings, by model."""


def between(before: Reading, after: Reading) -> Screen:
    """Return what happened from one reading to the other; the process that was started in between began at 0."""
    if before.started != after.started:
        before = Reading(at=before.at)
    seconds = max(after.at - before.at, 1e-9)
    counted = {served: _increase(before.requests.get(served, {}), codes) for served, codes in after.requests.items()}
    by_route: dict[str, float] = {}
    for served, codes in counted.items():
        by_route[served.route] = by_route.get(served.route, 0.0) + sum(codes.values())
    rows = [_row(served, codes, by_route[served.route], seconds, before, after) for served, codes in counted.items()]
    total = sum(by_route.values())
    failed = sum(count for codes in counted.values() for code, count in codes.items() if code != "OK")
    loads = _increase(before.loads, after.loads)
    return Screen(
        release=after.release,
        seconds=seconds,
        rate=total / seconds,
        failed=failed / total if total else 0.0,
        in_flight=after.in_flight,
        cpu=max(after.cpu_s - before.cpu_s, 0.0) / seconds,
        memory=after.memory,
        rows=tuple(sorted(rows, key=lambda row: (row.route, row.target, row.model, row.version))),
        versions=tuple(_loaded(version, before, after) for version in _versions(after)),
        failed_loads={model: count for (model, outcome), count in loads.items() if outcome == "failed" and count},
    )


def _versions(reading: Reading) -> list[Version]:
    return sorted(reading.states, key=lambda one: (one.model, one.version.rjust(20)))


def _row(
    served: Served, codes: Mapping[str, float], of_route: float, seconds: float, before: Reading, after: Reading
) -> Row:
    count = sum(codes.values())
    bad = {code: number / seconds for code, number in codes.items() if code != "OK" and number}
    took = _rise(before.durations.get(served, ()), after.durations.get(served, ()))
    return Row(
        *served,
        rate=count / seconds,
        share=count / of_route if of_route else None,
        failed=sum(bad.values()) * seconds / count if count else 0.0,
        p50_ms=_ms(quantile(took, 0.5)),
        p99_ms=_ms(quantile(took, 0.99)),
        codes=bad,
    )


def _loaded(version: Version, before: Reading, after: Reading) -> Loaded:
    waited = _rise(before.waits.get(version, ()), after.waits.get(version, ()))
    rows = after.queue_rows.get(version, 0.0)
    return Loaded(*version, after.states[version], rows, _ms(quantile(waited, 0.99)))


def _increase(before: Mapping[Key, float], after: Mapping[Key, float]) -> dict[Key, float]:
    # A series that was forgotten and came again has begun at 0.
    return {key: now - then if now >= (then := before.get(key, 0.0)) else now for key, now in after.items()}


def _rise(before: Buckets, after: Buckets) -> Buckets:
    return tuple(_increase(dict(before), dict(after)).items())


def quantile(buckets: Buckets, share: float) -> float:
    """Return what *share* of the observations do not exceed, in seconds, taking them as even within a bucket.

    NaN where there are none, and the last finite bound where it is beyond that.
    """
    total = buckets[-1][1] if buckets else 0.0
    if total <= 0:
        return nan
    wanted, low, below = total * share, 0.0, 0.0
    for high, count in buckets:
        if count >= wanted:
            if high == inf:
                return low
            return low + (high - low) * (wanted - below) / (count - below) if count > below else high
        low, below = high, count
    return low


def _ms(seconds: float) -> float | None:
    return None if seconds != seconds else seconds * 1e3


# ---------------------------------------------------------------- on a terminal


def heading(screen: Screen) -> str:
    """Return the first line."""
    return (
        f"{_rate(screen.rate)}/s, {output.percent(round(screen.failed, 4))} failed, {screen.in_flight:g} in flight, "
        f"CPU {screen.cpu:.2f} cores, {output.size(int(screen.memory))}, turnout {output.plain(screen.release)}"
    )


def lines(screen: Screen, width: int | None, height: int | None = None, *, coloured: bool = False) -> list[str]:
    """Return the tables, within *width* and *height*; None is any. What finds no room is told of."""
    tables = [*_targets(screen, width, coloured), *_errors(screen), "", *_models(screen, width, coloured)]
    if height is None or len(tables) <= height:
        return tables
    kept = max(height - 1, 1)
    return [*tables[:kept], f"and {len(tables) - kept} more lines; a higher terminal or --once shows all"]


def _targets(screen: Screen, width: int | None, coloured: bool) -> list[str]:
    columns = ("route", "target", "version", "req/s", "share", "failed", "p50 ms", "p99 ms")
    rows = [
        (
            row.route or "-",
            row.target or ("-" if row.model else "(none)"),
            row.version if row.model in (row.route, "") else f"{row.model} {row.version}",
            _rate(row.rate),
            "" if row.share is None else output.percent(round(row.share, 3)),
            output.percent(round(row.failed, 3)) if row.failed else "-",
            _said(row.p50_ms),
            _said(row.p99_ms),
        )
        for row in screen.rows
    ]
    if not rows:
        return ["no requests so far"]
    return output.table_lines(columns, rows, width, right=columns[3:], coloured=coloured)


def _errors(screen: Screen) -> list[str]:
    found = sorted(
        (
            (rate, code, f"{row.route or row.model}/{row.target}".rstrip("/"))
            for row in screen.rows
            for code, rate in row.codes.items()
        ),
        reverse=True,
    )
    said = [f"{code} {_rate(rate)}/s on {output.plain(where)}" for rate, code, where in found[:_MOST_ERRORS]]
    if len(found) > _MOST_ERRORS:
        said.append(f"and {len(found) - _MOST_ERRORS} other kinds of errors")
    loads = [f"{output.plain(model)}: {count:g} loads failed" for model, count in sorted(screen.failed_loads.items())]
    return ["", *said, *loads] if said or loads else []


def _models(screen: Screen, width: int | None, coloured: bool) -> list[str]:
    columns = ("model", "version", "state", "queue", "wait p99 ms")
    rows = [
        (one.model, one.version, one.state, f"{one.queue_rows:g}", _said(one.wait_p99_ms)) for one in screen.versions
    ]
    if not rows:
        return ["no versions are loaded"]
    return output.table_lines(columns, rows, width, right=("version", "queue", "wait p99 ms"), coloured=coloured)


def _said(ms: float | None) -> str:
    if ms is None:
        return "-"
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else f"{ms:,.0f}"


def _rate(value: float) -> str:
    if value >= 100 or not value:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 0.1 else f"{value:.2g}"


def document(screen: Screen, at: str) -> dict[str, object]:
    """Return it for JSON; *at* is the time of the second reading."""
    return {"time": at, **msgspec.structs.asdict(screen)}
