"""Two readings become a screen."""

from __future__ import annotations

from math import inf, isnan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.cli import grid, top_view
from turnout_server.cli.readings import Reading, Served, Version
from turnout_server.cli.top_view import between, quantile

CANARY, CONTROL = Served("price", "canary", "price", "2"), Served("price", "control", "price", "1")
NONE = Served("price", "", "", "")
TWO = Version("price", "2")


def reading(at: float, canary: float, control: float, failed: float = 0.0, **more: Any) -> Reading:
    fields: dict[str, Any] = {
        "at": at,
        "started": 1.0,
        "release": "0.1.0",
        "requests": {CANARY: {"OK": canary, "QUEUE_FULL": failed}, CONTROL: {"OK": control}},
        "durations": {CANARY: ((0.01, canary), (inf, canary + failed))},
        "states": {TWO: "AVAILABLE"},
        "queue_rows": {TWO: 7.0},
    }
    return Reading(**(fields | more))


def test_counts_become_rates_and_shares() -> None:
    screen = between(reading(10.0, 100, 900, cpu_s=1.0), reading(12.0, 110, 980, 10, cpu_s=2.0, in_flight=3.0))
    canary, control = screen.rows
    assert (canary.target, canary.rate, canary.share, canary.failed) == ("canary", 10.0, 0.2, 0.5)
    assert canary.codes == {"QUEUE_FULL": 5.0}
    assert (control.rate, control.share, control.failed, control.p50_ms) == (40.0, 0.8, 0.0, None)
    assert (screen.rate, screen.failed, screen.cpu, screen.in_flight) == (50.0, 0.1, 0.5, 3.0)
    (loaded,) = screen.versions
    assert (loaded.model, loaded.version, loaded.state, loaded.queue_rows) == ("price", "2", "AVAILABLE", 7.0)


def test_a_gateway_that_was_started_again_counts_from_nothing() -> None:
    screen = between(reading(10.0, 1000, 9000, cpu_s=50.0), reading(12.0, 20, 0, started=11.0, cpu_s=1.0))
    assert screen.rows[0].rate == 10.0
    assert screen.cpu == 0.5


def test_a_series_that_came_again_has_begun_at_nothing() -> None:
    screen = between(reading(10.0, 1000, 0), reading(12.0, 20, 0))
    assert screen.rows[0].rate == 10.0


def test_a_route_without_traffic_has_no_shares() -> None:
    screen = between(reading(10.0, 1, 1), reading(12.0, 1, 1))
    assert [row.share for row in screen.rows] == [None, None]
    assert screen.failed == 0.0


def test_failed_loads_are_counted() -> None:
    after = reading(12.0, 1, 1, loads={("price", "failed"): 3.0, ("price", "ok"): 1.0})
    assert between(reading(10.0, 1, 1, loads={("price", "failed"): 1.0}), after).failed_loads == {"price": 2.0}


@pytest.mark.parametrize(
    ("buckets", "share", "found"),
    [
        (((0.01, 10.0), (inf, 10.0)), 0.5, 0.005),
        (((0.01, 10.0), (0.02, 20.0), (inf, 20.0)), 0.75, 0.015),
        (((0.01, 0.0), (inf, 4.0)), 0.99, 0.01),
    ],
)
def test_a_percentile_lies_within_its_bucket(buckets: Any, share: float, found: float) -> None:
    assert quantile(buckets, share) == pytest.approx(found)


def test_nothing_has_no_percentile() -> None:
    assert isnan(quantile((), 0.5))
    assert isnan(quantile(((0.01, 0.0), (inf, 0.0)), 0.5))


@given(st.lists(st.integers(0, 50), min_size=2, max_size=6), st.floats(0, 1), st.floats(0, 1))
def test_percentiles_are_in_order(counts: list[int], one: float, other: float) -> None:
    total, buckets = 0, []
    for index, count in enumerate(counts):
        total += count
        buckets.append((inf if index == len(counts) - 1 else 0.01 * (index + 1), float(total)))
    low, high = quantile(tuple(buckets), min(one, other)), quantile(tuple(buckets), max(one, other))
    assert isnan(low) or low <= high


def test_the_screen_says_all_of_it() -> None:
    screen = between(
        reading(10.0, 0, 0),
        reading(12.0, 20, 0, 2, requests={CANARY: {"OK": 20.0, "QUEUE_FULL": 2.0}, NONE: {"ROUTE_NOT_READY": 4.0}}),
    )
    text = [" ".join(line.split()) for line in top_view.lines(screen, 80)]
    assert "price (none) 2.0 15.4 % 100 % - -" in text
    assert "price canary 2 11.0 84.6 % 9.1 % 5.50 10.0" in text
    assert "ROUTE_NOT_READY 2.0/s on price" in text
    assert "QUEUE_FULL 1.0/s on price/canary" in text
    assert "price 2 AVAILABLE 7 -" in text
    assert top_view.heading(screen).startswith("13.0/s, 23.08 % failed, 0 in flight")


@pytest.mark.parametrize("width", [80, 60, None])
def test_long_names_are_not_cut(width: int | None) -> None:
    name = "recommendation-homepage-personalised"
    served = Served(f"{name}-route", f"{name}-target", name, "12345")
    after = reading(12.0, 0, 0, requests={served: {"OK": 4.0}}, states={Version(name, "12345"): "UNLOADING"})
    lines = top_view.lines(between(Reading(at=10.0, started=1.0), after), width)
    text = "".join("".join(lines).split())
    for part in (f"{name}-route", f"{name}-target", f"{name}12345", "UNLOADING"):
        assert part in text
    assert width is None or all(grid.measure(line) <= width for line in lines)


def test_what_has_no_room_is_told() -> None:
    states = {Version("price", str(number)): "AVAILABLE" for number in range(50)}
    screen = between(reading(10.0, 0, 0), reading(12.0, 1, 1, states=states))
    lines = top_view.lines(screen, 80, 20)
    assert len(lines) == 20
    assert lines[-1] == f"and {len(top_view.lines(screen, 80)) - 19} more lines; a higher terminal or --once shows all"
