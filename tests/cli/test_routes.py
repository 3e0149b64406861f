"""Route tables that are shown, checked and replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.e2e.tiny_store import ROUTES
from turnout_server.routing.text import parse
from turnout_server.store.store import DirectoryStore


def test_routes_are_shown_with_shares_and_versions(run: Run, store: Path) -> None:
    shown = run("routes", "show", "--json").json
    assert shown["digest"] == parse(ROUTES).digest
    arms = {arm["name"]: arm for route in shown["routes"] if route["name"] == "ranking" for arm in route["targets"]}
    assert (arms["canary"]["share"], arms["canary"]["resolved"]) == (0.1, 2)
    assert "price: override x-qa=on -> canary" in run("routes", "show").out


def test_a_model_that_was_unloaded_serves_nothing(run: Run, store: Path) -> None:
    DirectoryStore(store).suspend("ranking")
    served = {
        route["name"]: [arm["resolved"] for arm in route["targets"]]
        for route in run("routes", "show", "--json").json["routes"]
    }
    assert set(served["ranking"]) == {0}
    assert 0 not in served["price"]


def test_apply_says_what_changes(run: Run, store: Path, tmp_path: Path) -> None:
    table = tmp_path / "new.yaml"
    text = (
        ROUTES.replace("weight: 90", "weight: 80")
        .replace("weight: 10", "weight: 20")
        .replace("salt: price-test", "salt: price-again")
        .replace("fallback: control", "fallback: canary")
        .replace("  echo:\n    task: tensors", "  repeat:\n    task: tensors")
    )
    table.write_text(text)
    dry = run("routes", "apply", table, "--dry-run")
    assert dry.out.splitlines() == [
        "- echo: the route goes",
        "+ repeat: a new route (tensors: only 100 %)",
        "~ price: a new salt: every unit is assigned anew",
        "~ price: fallback: control -> canary",
        "~ ranking: control: share 90 % -> 80 %",
        "~ ranking: canary: share 10 % -> 20 %",
    ]
    assert DirectoryStore(store).routes_text() == ROUTES
    applied = run("routes", "apply", table, "--json").json
    assert applied == {"changes": dry.out.splitlines(), "digest": parse(text).digest, "applied": True}
    assert DirectoryStore(store).routes_text() == text
    assert run("routes", "apply", table).out == "no changes\n"


def test_apply_replaces_only_the_expected_table(run: Run, store: Path) -> None:
    table = store / "routes.yaml"
    stale = run("routes", "apply", table, "--expect-digest", "0" * 64)
    assert stale.code == 75
    assert run("routes", "apply", table, "--expect-digest", "0" * 64, "--dry-run").code == 75
    assert run("routes", "apply", table, "--expect-digest", parse(ROUTES).digest).code == 0


def test_a_dangling_table_is_refused_and_the_old_one_stays(run: Run, store: Path, tmp_path: Path) -> None:
    table = tmp_path / "new.yaml"
    table.write_text(ROUTES.replace("version: challenger, weight: 10", "version: 9, weight: 10"))
    assert run("routes", "check", table).code == 0
    for command in (("check", table, "--store", store), ("apply", table), ("apply", table, "--dry-run")):
        ran = run("routes", *command)
        assert ran.code == 65
        assert "$.routes.ranking.targets[1].version: 'ranking' has no version 9; it has 1, 2" in ran.err
    assert DirectoryStore(store).routes_text() == ROUTES


def test_a_wrong_table_in_the_store_can_be_replaced(run: Run, store: Path, tmp_path: Path) -> None:
    (store / "routes.yaml").write_text("routes: 3")
    table = tmp_path / "new.yaml"
    table.write_text(ROUTES)
    assert run("routes", "show").code == 65
    ran = run("routes", "apply", table)
    assert ran.code == 0
    assert "the present table is wrong: $.routes" in ran.err
    assert run("routes", "show").code == 0


def test_set_changes_the_weight_and_nothing_else(run: Run, store: Path) -> None:
    (store / "routes.yaml").write_text(f"# Ours.\n{ROUTES}")
    dry = run("routes", "set", "ranking", "canary=25%", "--dry-run")
    assert dry.out.splitlines()[:2] == [
        "~ ranking: control: share 90 % -> 75 %",
        "~ ranking: canary: share 10 % -> 25 %",
    ]
    assert dry.out.splitlines()[2].endswith("% of units move: control -> canary")
    assert DirectoryStore(store).routes_text() == f"# Ours.\n{ROUTES}"
    done = run("routes", "set", "ranking", "canary=25%", "--json").json
    assert (done["applied"], done["moves"][0]["from"], done["moves"][0]["to"]) == (True, "control", "canary")
    assert done["moves"][0]["share"] == pytest.approx(0.15, abs=0.02)
    expected = ROUTES.replace("weight: 90", "weight: 75").replace("weight: 10", "weight: 25")
    assert DirectoryStore(store).routes_text() == f"# Ours.\n{expected}"


def test_set_reminds_of_percentages_where_weights_came_to_a_hundred(run: Run, store: Path) -> None:
    assert "canary=25% sets the share itself" in run("routes", "set", "ranking", "canary=25").err
    assert "note" not in run("routes", "set", "ranking", "canary=30").err
    assert "note" not in run("routes", "set", "price", "canary=25", "control=75").err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("price", "canary=nan"), 2, "expected a weight, as 25, or a share, as 25%"),
        (("price", "canary=1e3"), 2, "expected a weight"),
        (("price", "canary=-1"), 2, "expected a weight"),
        (("price", "canary"), 2, "expected NAME=VALUE"),
        (("price", "cannary=1"), 65, "no target named 'cannary'; the route has control, canary"),
        (("price", "canary=0", "control=0"), 65, "every weight is 0"),
        (("price", "canary=120%"), 65, "come to 120 %"),
        (("prices", "canary=1"), 66, "no route or model named 'prices'"),
    ],
)
def test_set_refuses_what_is_no_table(run: Run, store: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    ran = run("routes", "set", *arguments)
    assert (ran.code, DirectoryStore(store).routes_text()) == (code, ROUTES)
    assert said in ran.err


def test_set_says_that_a_running_experiment_gets_a_new_epoch(run: Run, store: Path, tmp_path: Path) -> None:
    definition = tmp_path / "ranker.yaml"
    definition.write_text(
        "{name: ranker, route: ranking, control: control, treatments: [canary], aa: true, window: 7d, units: 1000,"
        " start: 2026-10-01, primary: sales, metrics:"
        " {sales: {kind: proportion, outcome: sale, baseline: {mean: 0.1}}}}"
    )
    assert run("routes", "set", "ranking", "canary=20%", "--json").json["begins_epoch_of"] is None
    started = run("experiment", "start", definition)
    assert started.code == 0, started.err
    note = "note: experiment 'ranker' is running on this route; the new weights"
    assert f"{note} begin a new epoch" in run("routes", "set", "ranking", "canary=30%", "--dry-run").err
    assert f"{note} have begun a new epoch" in run("routes", "set", "ranking", "canary=30%").err
    assert run("routes", "set", "ranking", "canary=40%", "--json").json["begins_epoch_of"] == "ranker"
    assert "note" not in run("routes", "set", "ranking", "canary=40%").err, "nothing changes"
    assert "ranker" not in run("routes", "set", "price", "canary=40%").err
    assert run("experiment", "stop", "ranker").code == 0
    assert "note" not in run("routes", "set", "ranking", "canary=50%").err


def test_set_needs_a_table_that_is_right(run: Run, store: Path) -> None:
    (store / "routes.yaml").write_text("routes: 3")
    assert run("routes", "set", "price", "canary=1").code == 65
    (store / "routes.yaml").unlink()
    assert run("routes", "set", "price", "canary=1").code == 66
