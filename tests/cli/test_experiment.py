"""`turnout experiment`: from a definition to a verdict, with an exit code that a script can go by."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.experiments.worlds import HOUR, World

DEFINITION = """
name: ranker
route: ranking
control: old
treatments: [new]
window: 7d
units: 1000
start: 2026-10-01
primary: conversion
metrics:
  conversion: {kind: proportion, outcome: purchase, baseline: {mean: 0.1}}
"""


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    file = tmp_path / "ranker.yaml"
    file.write_text(DEFINITION, encoding="utf-8")
    return file


def journal(folder: Path, better: int, share: float = 0.5) -> Path:
    world = World(folder / "journal")
    for index in range(1000):
        arm = "new" if index % 10 < 10 * share else "old"
        world.exposed(str(index), arm)
        if index % 5 == 4 or (arm == "new" and index % 10 < better):
            world.did(str(index), HOUR)
    return world.write()


@pytest.mark.parametrize(
    ("better", "share", "code", "verdict"),
    [(3, 0.5, 0, "WIN"), (0, 0.5, 3, "INCONCLUSIVE"), (2, 0.3, 4, "INVALID")],
)
def test_the_exit_code_says_whether_there_is_a_verdict(
    run: Run, definition: Path, tmp_path: Path, better: int, share: float, code: int, verdict: str
) -> None:
    where = ("-j", str(journal(tmp_path, better, share)), "--as-of", "2026-11-01")
    said = run("experiment", "analyse", str(definition), *where)
    assert (said.code, said.out.split(":")[0]) == (code, verdict)
    assert "may have been chosen after looking" in said.err
    document = run("experiment", "analyse", str(definition), *where, "--format", "json")
    assert document.code == code
    assert json.loads(document.out)["verdicts"][0]["verdict"] == verdict
    assert run("experiment", "analyse", str(definition), *where, "--format", "json").out == document.out


def test_power_says_what_it_takes(run: Run, definition: Path) -> None:
    said = run("experiment", "power", str(definition), "--units-a-day", "100")
    assert said.code == 0
    assert "1,000 units find a change of" in said.out
    assert "take 17 days" in said.out.replace("\n", " ")


def test_sql_is_printed_whole(run: Run, definition: Path) -> None:
    said = run("experiment", "sql", str(definition), "--as-of", "2026-11-01")
    assert said.code == 0
    assert said.out.startswith("SET TimeZone = 'UTC';\n\nCREATE VIEW parts AS")


@pytest.mark.skipif(importlib.util.find_spec("sqlglot") is None, reason="sqlglot is not installed")
def test_sql_is_printed_for_spark_too(run: Run, definition: Path) -> None:
    said = run("experiment", "sql", str(definition), "--as-of", "2026-11-01", "--dialect", "spark")
    assert said.code == 0
    assert "CREATE OR REPLACE TEMPORARY VIEW numbers AS" in said.out


def test_without_the_translator_it_is_said_what_brings_it(
    run: Run, definition: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlglot", None)
    said = run("experiment", "sql", str(definition), "--as-of", "2026-11-01", "--dialect", "spark")
    assert said.code != 0
    assert "pip install 'turnout[experiments]'" in said.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("analyse", "nothing", "-j", "."), 66, "no experiment 'nothing' was started"),
        (("analyse", "missing.yaml", "-j", "."), 66, "missing.yaml"),
        (("status", "nothing", "-j", "nowhere"), 66, "no journal at nowhere"),
        (("analyse", "x.yaml", "-j", ".", "--as-of", "2099-01-01"), 2, "--as-of: 2099-01-01 is not in the past"),
        (("analyse", "x.yaml", "-j", ".", "--as-of", "9999-12-31T23:59-05:00"), 2, "is not in the past"),
        (("stop", "nothing"), 66, "no experiment 'nothing' was started"),
    ],
)
def test_what_is_not_there_is_said(run: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, told: str) -> None:
    store = () if arguments[1].endswith(".yaml") else ("--store", str(tmp_path))
    said = run("experiment", *arguments, *store)
    assert (said.code, told in said.err) == (code, True)


def test_a_definition_that_is_wrong_is_said_with_its_place(run: Run, definition: Path) -> None:
    definition.write_text(DEFINITION.replace("window: 7d", "window: long"), encoding="utf-8")
    said = run("experiment", "power", str(definition))
    assert said.code == 65
    assert f"{definition}: $.window:" in said.err


def test_an_experiment_starts_shows_and_stops_once(run: Run, definition: Path, store: Path, tmp_path: Path) -> None:
    arms = "[{name: old, model: price, version: 1, weight: 1}, {name: new, model: price, version: 2, weight: 1}]"
    assert f"{definition}: $.control: the route has no target named 'old'" in run("experiment", "check", definition).err
    (store / "routes.yaml").write_text(f"routes: {{ranking: {{salt: s, targets: {arms}}}}}", encoding="utf-8")
    checked = run("experiment", "check", definition)
    assert (checked.code, "new" in checked.out) == (0, True), checked.err
    assert run("experiment", "start", definition).code == 0
    assert run("experiment", "start", definition).code == 75
    assert "ranking" in run("experiment", "list").out
    assert run("experiment", "status", "ranker", "-j", journal(tmp_path, 0)).code == 0
    more = tmp_path / "more.yaml"
    more.write_text("visits: {kind: mean, outcome: visit}\n", encoding="utf-8")
    assert "added visits to ranker" in run("experiment", "add-metric", "ranker", more).out
    assert run("experiment", "add-metric", "ranker", more).code == 75
    more.write_text("clicks: {kind: mean, outcome: click, window: 99d}\n", encoding="utf-8")
    refused = run("experiment", "add-metric", "ranker", more)
    assert (refused.code, f"{more}: $.metrics.clicks.window" in refused.err) == (65, True)
    assert "visits was added" in run("experiment", "status", "ranker", "-j", tmp_path / "journal").err
    said = json.loads(run("experiment", "status", "ranker", "-j", tmp_path / "journal", "--json").out)
    assert [one["metric"] for one in said["added"]] == ["visits"]
    assert "'visits', 'x', 'visit'" in run("experiment", "sql", "ranker").out
    prometheus = run("experiment", "status", "ranker", "-j", tmp_path / "journal", "--format", "prometheus")
    assert 'turnout_experiment_units{experiment="ranker",route="ranking",arm="new"} 0\n' in prometheus.out
    assert run("experiment", "stop", "ranker", "--why", "enough").code == 0
    assert run("experiment", "stop", "ranker").code == 75


def test_one_that_cannot_be_read_hides_no_other_from_the_list(run: Run, definition: Path, store: Path) -> None:
    arms = "[{name: old, model: price, version: 1, weight: 1}, {name: new, model: price, version: 2, weight: 1}]"
    (store / "routes.yaml").write_text(f"routes: {{ranking: {{salt: s, targets: {arms}}}}}", encoding="utf-8")
    assert run("experiment", "start", definition).code == 0
    for name in ("broken", "worse"):
        (store / "experiments" / name).mkdir()
        (store / "experiments" / name / "started.json").write_text("{")
    for more in ((), ("--json",)):
        listed = run("experiment", "list", *more)
        assert listed.code == 69
        assert "ranker" in listed.out
        assert all(f"experiments/{name}/started.json: " in listed.err for name in ("broken", "worse"))
