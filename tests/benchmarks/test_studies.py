"""What is measured beside what."""

from __future__ import annotations

import pytest

from benchmarks.field.comparison import SETUPS
from benchmarks.field.report import TITLES
from benchmarks.field.results import Cell
from benchmarks.field.studies import DEFAULT, SCENARIOS, STUDIES, plan, scenarios_of, servers_of, without
from benchmarks.field.targets import TARGETS

EVERYBODY = tuple(SETUPS)


def test_what_two_studies_want_is_measured_once() -> None:
    found = plan(["row", "beside"], EVERYBODY)
    assert list(found) == [Cell("mlp", calls) for calls in (1, 16, 64)]
    everyone = ("turnout", "portable", "floor", "mlserver", "kserve", "triton", "journal", "traced-1", "traced")
    assert set(found.values()) == {everyone}


def test_only_who_may_takes_part() -> None:
    found = plan(["row", "rank"], ["floor"])
    assert servers_of(found) == ("floor",)
    assert scenarios_of(found) == ("mlp",)  # nobody ranks
    assert plan(["rank"], ["floor"]) == {}


def test_scenarios_and_concurrency_may_be_said() -> None:
    found = plan(["shards"], EVERYBODY, ["dear"], [4])
    assert found == {Cell("dear", 4): ("one-shard", "two-shards")}


def test_who_is_left_out_leaves_no_empty_cell() -> None:
    found = {Cell("mlp", 1): ("turnout", "traced"), Cell("mlp", 16): ("traced",)}
    assert without(found, ["traced"]) == {Cell("mlp", 1): ("turnout",)}


def test_a_server_gets_the_scenarios_that_it_takes_part_in() -> None:
    found = plan(["row", "rows", "rank"], EVERYBODY)
    assert scenarios_of(found, "onnxruntime") == ("wide",)
    assert scenarios_of(found, "turnout") == ("mlp", "wide", "rank-columns", "rank-matrix")


@pytest.mark.parametrize("study", STUDIES)
def test_everybody_in_a_study_can_be_started_and_has_a_title(study: str) -> None:
    assert set(STUDIES[study].servers) <= set(SETUPS) & set(TITLES)


def test_every_target_can_be_judged_by_what_is_measured() -> None:
    """A target whose contest takes place in no study would be met for ever."""
    found = plan(tuple(STUDIES), EVERYBODY)
    for target in TARGETS:
        contest = target.contest
        cells = [cell for cell, servers in found.items() if contest.server in servers]
        cells = [
            cell for cell in cells if contest.scenario in ("", cell.scenario) and target.at in (0, cell.concurrency)
        ]
        beside = [cell._replace(scenario=contest.beside or cell.scenario) for cell in cells]
        assert any(contest.rival in found.get(cell, ()) for cell in beside), target


def test_by_default_nobody_needs_models_that_were_trained() -> None:
    assert not {"price", "ranking", "recommendation"} & set(scenarios_of(plan(DEFAULT, EVERYBODY)))
    assert {"price", "ranking", "recommendation"} < set(SCENARIOS)
