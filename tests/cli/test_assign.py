from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.e2e.tiny_store import ROUTES
from turnout_server.routing.text import parse

UNITS = [f"user-{number}" for number in range(300)]


def test_each_unit_gets_what_the_router_gives_it(run: Run, store: Path) -> None:
    route = parse(ROUTES).require("ranking")
    found = run("assign", "ranking", *UNITS, "--json").json
    wanted = [route.assign(unit, {}, 0.0).target.name for unit in UNITS]
    assert [one["target"] for one in found["assignments"]] == wanted
    assert found["counts"] == {"control": wanted.count("control"), "canary": wanted.count("canary")}


def test_one_unit_is_explained_by_its_scores(run: Run, store: Path) -> None:
    (one,) = run("assign", "price", "user-1", "--json").json["assignments"]
    scores = {arm["target"]: arm["score"] for arm in one["targets"]}
    assert one["target"] == min(scores, key=scores.__getitem__)
    assert (one["reason"], one["override"], one["resolved"]) == ("SPLIT", None, 1 if one["target"] == "control" else 2)
    lines = run("assign", "price", "user-1").out.splitlines()
    assert lines[0].startswith(f"price/{one['target']} -> price")
    assert [line.split()[0] for line in lines if line.endswith("<-")] == [one["target"]]


@pytest.mark.parametrize(
    ("arguments", "target", "override"), [(("vip",), "control", 1), (("vip", "-H", "X-QA=on"), "canary", 0)]
)
def test_overrides_are_named(run: Run, store: Path, arguments: tuple[str, ...], target: str, override: int) -> None:
    (one,) = run("assign", "price", *arguments, "--json").json["assignments"]
    assert (one["target"], one["reason"], one["override"]) == (target, "OVERRIDE", override)
    assert f"override {override} matches" in run("assign", "price", *arguments).out


def test_without_a_unit_the_draw_is_said_to_be_one(run: Run, store: Path) -> None:
    (one,) = run("assign", "price", "", "--json").json["assignments"]
    assert one["reason"] == "UNSTICKY"
    assert all(arm["score"] is None for arm in one["targets"])


TRIED = """
layers:
  checkout: {salt: checkout-2026, holdout: 0.3}
routes:
  r:
    salt: s
    targets: [{name: a, model: m, version: 1, weight: 1}, {name: b, model: m, version: 2, weight: 1}]
    experiment: {name: trial, control: a, layer: checkout, buckets: [[0, 500]], enrolment: 0.6}
"""


@pytest.fixture
def tried(tmp_path: Path) -> Path:
    table = tmp_path / "tried.yaml"
    table.write_text(TRIED)
    return table


def test_each_step_into_an_experiment_is_explained_and_says_why_it_ends(run: Run, tried: Path) -> None:
    route = parse(TRIED).require("r")
    reasons = {unit: route.assign(unit, {}, 0.0).reason.value for unit in UNITS}
    for reason, passes, why in (
        ("HOLDOUT", (False,), "it is the control of the experiment trial, and the layer checkout keeps the unit out"),
        ("UNENROLLED", (True,), "it is the control of the experiment trial, and the unit does not take part"),
        ("SPLIT", (True, True, True), "it is the control"),
    ):
        unit = next(unit for unit, found in reasons.items() if found == reason)
        (one,) = run("assign", "r", unit, "--routes", tried, "--json").json["assignments"]
        assert (one["reason"], one["experiment"], one["layer"]) == (reason, "trial", "checkout")
        assert one["enrolled"] == (reason == "SPLIT") == all(step["passes"] for step in one["draws"])
        assert [step["found"] for step in one["draws"]] == list(route.draws(unit))
        assert tuple(step["passes"] for step in one["draws"])[: len(passes)] == passes
        lines = run("assign", "r", unit, "--routes", tried).out.splitlines()
        assert (why in lines[1]) == (reason != "SPLIT")
        shown = [line.split()[-1] for line in lines if line.startswith(("holdout", "bucket", "enrolment"))]
        assert shown == ["yes" if step["passes"] else "no" for step in one["draws"]]


def test_without_a_unit_an_experiments_control_is_no_draw(run: Run, tried: Path) -> None:
    (one,) = run("assign", "r", "", "--routes", tried, "--json").json["assignments"]
    assert (one["reason"], one["target"], one["enrolled"], one["draws"]) == ("UNSTICKY", "a", None, [])
    assert "there is no unit that could take part" in run("assign", "r", "", "--routes", tried).out


def test_of_an_experiment_the_control_is_expected_to_get_who_does_not_take_part(run: Run, tried: Path) -> None:
    lines = [line.split() for line in run("assign", "r", *UNITS, "--routes", tried).out.splitlines()]
    expected = {line[0]: float(line[-2]) for line in lines if line[:1] in (["a"], ["b"])}
    assert expected == pytest.approx({"a": 89.5, "b": 10.5}), "0.7 without the holdout, half the buckets, 0.6 enrolled"


def test_units_from_stdin_are_counted(run: Run, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = run("assign", "ranking", *UNITS, "--json").json["counts"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{unit}\n" for unit in UNITS)))
    lines = [line.split() for line in run("assign", "ranking", "-").out.splitlines()]
    assert {line[0]: int(line[1]) for line in lines[1:]} == counts


def test_a_table_outside_the_store_needs_no_store(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "routes.yaml"
    table.write_text(ROUTES)
    assert run("assign", "price", "vip", "--routes", table, "--json").json["assignments"][0]["target"] == "control"


def test_without_a_store_a_label_is_no_reason_to_fall_back(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "labels.yaml"
    table.write_text(
        "routes: {r: {task: price, salt: s, fallback: b, targets: ["
        "{name: a, model: m, version: champion, weight: 1}, {name: b, model: m, version: 1, weight: 1}]}}"
    )
    found = run("assign", "r", *(f"u{number}" for number in range(20)), "--routes", str(table), "--json").json
    assert {one["reason"] for one in found["assignments"]} == {"SPLIT"}
    assert {(one["target"], one["resolved"]) for one in found["assignments"]} == {("a", None), ("b", 1)}


def test_an_unknown_route_is_told_the_known_ones(run: Run, store: Path) -> None:
    ran = run("assign", "prize", "u")
    assert ran.code == 66
    assert "it has echo, price, ranking, recommendation" in ran.err
