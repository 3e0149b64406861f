"""Reload: which call belongs to which phase, and what is said of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.reload import results
from benchmarks.reload.report import Run, as_json, as_markdown
from benchmarks.reload.results import PHASES, Phase, Round, Times, phase_of
from tests.benchmarks.test_recorder import calls

TIMES = Times(
    opened=0.0, staging=5.0, staged=6.0, appeared=7.0, available=9.0, unloaded=10.0, settled=11.0, closed=16.0
)


def phase(p99: float, **changed: Any) -> Phase:
    fields: dict[str, Any] = {"seconds": 5.0, "calls": 100, "failed": 0, "p50": p99 / 2, "p99": p99, "max": p99 * 2}
    return Phase(**(fields | changed))


def round_of(before: float, during: float, **changed: Any) -> Round:
    phases = {name: phase(during if name == "during" else before) for name in PHASES}
    fields: dict[str, Any] = {"phases": phases, "load_s": 2.0, "unload_s": 0.1, "cpu_s": 1.5, "generator_bound": False}
    fields |= {"rss_before": 300 << 20, "rss_peak": 600 << 20, "rss_after": 310 << 20}
    return Round(**(fields | changed))


def run_of(*rounds: Round) -> Run:
    return Run(
        machine={"system": "Linux"},
        model_bytes=200_000_000,
        neighbour="Price",
        rate=200.0,
        settings=(),
        complete=True,
        rounds=rounds,
    )


def test_the_publishers_work_is_not_the_reload() -> None:
    assert TIMES.phase("publishing") == (5.0, 6.0)
    assert TIMES.phase("during") == (7.0, 10.0)


@pytest.mark.parametrize(
    ("due", "took", "phases"),
    [
        (4.0, 0.1, ["before"]),
        (4.95, 0.1, ["before", "publishing"]),
        (6.5, 0.1, []),
        (6.9, 0.2, ["during"]),
        (9.9, 0.2, ["during"]),
        (10.5, 1.0, ["after"]),
    ],
)
def test_a_call_counts_for_every_phase_in_which_it_was_under_way(due: float, took: float, phases: list[str]) -> None:
    one = calls((due, took, True))
    assert [name for name in PHASES if phase_of(one, *TIMES.phase(name)).calls] == phases


def test_a_phase_knows_what_failed_and_how_long_the_rest_took() -> None:
    found = phase_of(calls((1.0, 0.1, True), (1.1, 0.3, True), (1.2, 0.9, False)), *TIMES.phase("before"))
    assert (found.calls, found.failed, found.max, found.seconds) == (3, 1, 0.3, 5.0)


def test_how_much_slower_it_was_is_taken_within_each_round() -> None:
    assert results.slower([round_of(0.001, 0.003), round_of(0.1, 0.1)]) == [pytest.approx(3.0), pytest.approx(1.0)]


@pytest.mark.parametrize(("during", "verdict"), [(0.002, "- met"), (0.0021, "- **missed**")])
def test_the_target_is_the_median_of_the_rounds(during: float, verdict: str) -> None:
    text = as_markdown(run_of(round_of(0.001, during), round_of(0.001, during), round_of(0.001, 0.9)))
    assert f"{verdict}: the neighbour's p99 during a reload" in text


def test_the_report_has_each_phase_and_what_a_reload_takes() -> None:
    text = as_markdown(run_of(round_of(0.001, 0.0015)))
    assert "| during | 5.00 | 0.75 | 1.50 | 3.00 | 3.00 | 0 |" in text
    assert "| RSS at most, with children, MiB | 600 |" in text


def test_the_data_has_every_round() -> None:
    document = json.loads(as_json(run_of(round_of(0.001, 0.0015), round_of(0.001, 0.001))))
    assert len(document["rounds"]) == 2
    assert document["slower"] == [1.5, 1.0]
