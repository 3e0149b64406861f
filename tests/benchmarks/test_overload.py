"""Overload: the arithmetic, the verdicts, the report."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from benchmarks.overload import results
from benchmarks.overload.probe import copies_in, less, retry_s
from benchmarks.overload.report import Run, as_json, as_markdown, line
from benchmarks.overload.results import (
    Copies,
    Latency,
    Level,
    Refusals,
    copies_verdict,
    costs,
    medians,
    verdicts,
)
from tests.benchmarks.test_recorder import recording
from turnout_server.transport.status import status_of
from turnout_server.vocabulary.errors import InvalidRequestError, QueueFullError


def took(p99: float) -> Latency:
    return Latency(count=100, p50=p99 / 4, p95=p99 / 2, p99=p99, max=p99 * 2)


def level(factor: float, goodput: float = 100.0, p99: float = 0.1, **changed: Any) -> Level:
    fields: dict[str, Any] = {
        "round": 0,
        "series": "heavy",
        "factor": factor,
        "seconds": 1.0,
        "offered": factor * 100.0,
        "goodput": goodput,
        "refused": max(0.0, factor * 100.0 - goodput),
        "codes": {"OK": int(goodput)},
        "unanswered": 0,
        "latency": took(p99),
        "under_way": p99,
        "neighbour": took(0.001),
        "server_cpu": 1.0,
        "loop_cpu": 0.1,
        "generator_cpu": 0.1,
        "generator_bound": False,
    }
    return Level(**(fields | changed))


def met(*levels: Level) -> list[bool]:
    return [verdict.met for verdict in verdicts(levels, "heavy")]


INFORMED = Refusals(seen=3, with_retry_info=3)


def test_what_the_targets_ask_for_meets_them() -> None:
    assert met(level(1.0), level(5.0, 85.0, 0.3, refusals=INFORMED, neighbour=took(0.003))) == [True] * 5


@pytest.mark.parametrize(
    ("missed", "changed"),
    [
        (0, {"goodput": 84.0}),
        (1, {"p99": 0.31}),
        (2, {"refusals": Refusals(seen=3, with_retry_info=2)}),
        (2, {"refusals": Refusals()}),
        (3, {"codes": {"OK": 1, "INTERNAL": 1}}),
        (4, {"neighbour": took(0.0031)}),
    ],
)
def test_each_target_can_be_missed(missed: int, changed: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"refusals": INFORMED}
    verdict = met(level(1.0), level(5.0, **(fields | changed)))
    assert [number for number, one in enumerate(verdict) if not one] == [missed]


def test_the_best_goodput_may_be_anywhere() -> None:
    levels = [level(1.0, 80.0), level(2.0, 120.0), level(5.0, 100.0, refusals=INFORMED)]
    assert verdicts(levels, "heavy")[0].met is False


@pytest.mark.parametrize("levels", [[level(1.0)], [level(5.0)], []])
def test_without_full_load_and_overload_nothing_is_judged(levels: list[Level]) -> None:
    assert verdicts(levels, "heavy") == []


@pytest.mark.parametrize(("dropped", "is_met"), [(95, True), (94, False)])
def test_copies_are_to_be_dropped_in_overload(dropped: int, is_met: bool) -> None:
    verdict = copies_verdict([level(0.2), level(5.0, copies=Copies(sent=100 - dropped, dropped=dropped))])
    assert verdict is not None
    assert verdict.met is is_met


def test_without_copies_none_are_judged() -> None:
    assert copies_verdict([level(5.0)]) is None


def test_what_is_never_refused_needs_no_retry_info() -> None:
    targets = [one.target for one in verdicts([level(1.0), level(5.0, refused=0.0)], "heavy")]
    assert not [target for target in targets if "RetryInfo" in target]
    targets = [one.target for one in verdicts([level(1.0), level(5.0, refused=1.0)], "heavy")]
    assert [target for target in targets if "RetryInfo" in target]


def test_what_a_refusal_costs_is_what_accepted_calls_leave_of_the_cpu() -> None:
    """An accepted call takes 1 ms, a refused one 0.2 ms; 30 ms a second go elsewhere."""
    levels = [level(0.0, 0.0, loop_cpu=0.03), level(0.5, 50.0, loop_cpu=0.03 + 0.05)]
    levels.append(level(5.0, 100.0, loop_cpu=0.03 + 0.1 + 400 * 0.0002))
    found = costs(levels, "heavy")
    assert found is not None
    assert found.accepted == pytest.approx(0.001)
    assert found.refused == pytest.approx(0.0002)


def test_costs_are_not_guessed() -> None:
    assert costs([level(5.0)], "heavy") is None
    assert costs([level(0.5, 50.0, copies=Copies(sent=50))], "heavy") is None
    calm = costs([level(0.5, 50.0, loop_cpu=0.05)], "heavy")
    assert calm is not None
    assert calm.accepted == pytest.approx(0.001)
    assert math.isnan(calm.refused)


def test_medians_are_by_load_and_keep_series_apart() -> None:
    levels = [level(2.0, rate) for rate in (70.0, 90.0, 80.0)] + [level(0.5, 50.0), level(2.0, 1.0, series="quick")]
    found = medians(levels, "heavy")
    assert list(found) == [0.5, 2.0]
    assert found[2.0]["goodput"] == 80.0


def test_a_level_counts_all_that_was_due_and_only_what_was_answered() -> None:
    made = recording(
        answered=4,
        due=np.array([1.0, 1.5, 2.0]).tobytes(),
        took=np.array([0.1, 0.3, 0.2]).tobytes(),
        ok=np.array([True, True, False]).tobytes(),
        codes={"OK": 2, "RESOURCE_EXHAUSTED": 1},
        unanswered=5,
    )
    found = results.level(0, "heavy", 2.0, made, None, Refusals(), Copies())
    assert (found.offered, found.goodput, found.refused) == (4.0, 2.0, 0.5)
    assert (found.latency.count, found.latency.max) == (2, 0.3)


def test_with_the_neighbour_alone_there_is_no_load() -> None:
    found = results.level(0, "heavy", 0.0, None, recording(), Refusals(), Copies())
    assert (found.offered, found.goodput, found.latency.count) == (0.0, 0.0, 0)


def test_the_delay_of_a_refusal_is_read() -> None:
    details = dict(status_of(QueueFullError("price", 1, 0.25)).trailers)["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    assert retry_s(details) == 0.25


def test_an_error_without_a_delay_has_none() -> None:
    details = dict(status_of(InvalidRequestError("no")).trailers)["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    assert retry_s(details) == 0.0
    assert retry_s(b"") == 0.0


def test_copies_are_read_from_the_servers_counts() -> None:
    name = "turnout_mirrors_total"
    text = "\n".join(
        [
            f"# TYPE {name} counter",
            f'{name}{{route="a",model="m",version="1",outcome="sent"}} 3',
            f'{name}{{route="b",model="m",version="1",outcome="sent"}} 4',
            f'{name}{{route="a",model="m",version="1",outcome="dropped"}} 1e+01',
            'turnout_other_total{outcome="failed"} 9',
        ]
    )
    assert copies_in(text) == Copies(sent=7, dropped=10, failed=0)
    assert less(Copies(sent=7, dropped=10), Copies(sent=2, dropped=1)) == Copies(sent=5, dropped=9)


def run_of(*levels: Level) -> Run:
    return Run(
        machine={"system": "Linux"},
        titles={"heavy": "A costly model", "quick": "A quick model"},
        settings=(),
        rounds=1,
        seconds=1.0,
        complete=True,
        capacities={"heavy": 100.0},
        neighbour_rate=50.0,
        levels=levels,
    )


def test_the_report_has_verdicts_costs_and_figures_of_what_was_measured() -> None:
    levels = [level(0.5, 50.0, loop_cpu=0.05), level(1.0), level(5.0, 70.0, refusals=INFORMED, generator_bound=True)]
    text = as_markdown(run_of(*levels))
    assert "**missed**: goodput at 5x is at least 85% of the best; found 70%" in text
    assert "1000 µs an accepted call" in text
    assert "| 5x † | 500 | 70 | 430 |" in text
    assert "A quick model" not in text


def test_the_data_has_every_level_and_is_json_without_surprises() -> None:
    empty = Latency(count=0, p50=math.nan, p95=math.nan, p99=math.nan, max=math.nan)
    document = json.loads(as_json(run_of(level(0.0, 0.0, latency=empty), level(1.0), level(5.0))))
    assert [one["factor"] for one in document["levels"]] == [0.0, 1.0, 5.0]
    assert document["levels"][0]["latency"]["p99"] is None
    assert document["medians"]["heavy"]["5"]["goodput"] == 100.0


def test_a_line_says_when_the_generator_was_late() -> None:
    assert "generator late" in line(level(5.0, generator_bound=True), 1)
    assert "generator late" not in line(level(5.0), 1)
