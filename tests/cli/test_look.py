"""What is shown of a store, and what is changed in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.e2e.tiny_store import ROUTES
from turnout_server.routing.text import parse
from turnout_server.store.store import DirectoryStore


def test_models_lists_versions_newest_first_with_their_labels(run: Run, store: Path) -> None:
    rows = [row for row in run("models", "--json").json if row["model"] == "price"]
    assert [(row["version"], row["task"], row["labels"], row["metrics"]) for row in rows] == [
        (2, "price", ["challenger"], {"rmse": 12.5}),
        (1, "price", ["champion"], {"rmse": 12.5}),
    ]


def test_one_models_signature_is_shown(run: Run, store: Path) -> None:
    shown = run("models", "ranking")
    assert "price, discount, hour" in shown.out
    assert shown.out.splitlines()[0].split()[:3] == ["MODEL", "VERSION", "TASK"]


def test_a_version_with_a_broken_manifest_is_listed_as_such(run: Run, store: Path) -> None:
    manifest = store / "models/price/2/manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    row = run("models", "price", "--json").json[0]
    assert (row["version"], row["state"]) == (2, "BROKEN")
    assert "manifest.json" in row["detail"]


def test_piped_tables_have_no_trailing_blanks_colours_or_cuts(run: Run, store: Path) -> None:
    out = run("models").out
    assert "\x1b" not in out
    assert "…" not in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_what_a_manifest_says_cannot_steer_the_terminal(run: Run, store: Path) -> None:
    path = store / "models/price/1/manifest.json"
    document = json.loads(path.read_text())
    document["lineage"]["framework"] = "evil \x1b[2J\r\nfaked"
    path.chmod(0o644)
    path.write_text(json.dumps(document))
    out = run("models", "price").out
    assert "\x1b" not in out
    assert "\r" not in out
    assert "evil" in out


def test_a_label_moves_and_goes(run: Run, store: Path) -> None:
    labels = DirectoryStore(store).labels
    assert run("label", "price", "champion", 2).out == "price: champion -> 2\n"
    assert labels("price") == {"champion": 2, "challenger": 2}
    assert run("label", "price", "champion", "--delete", "--json").json == {
        "model": "price",
        "label": "champion",
        "version": None,
    }
    assert labels("price") == {"challenger": 2}


@pytest.mark.parametrize(("expected", "code"), [(1, 0), (2, 75), (0, 75)])
def test_a_label_moves_only_if_it_is_as_expected(run: Run, store: Path, expected: int, code: int) -> None:
    assert run("label", "price", "champion", 2, "--expect", expected).code == code
    assert DirectoryStore(store).labels("price")["champion"] == (2 if code == 0 else 1)


def test_a_new_label_may_be_asked_for(run: Run, store: Path) -> None:
    assert run("label", "price", "fresh", 2, "--expect", 0).code == 0
    assert run("label", "price", "fresh", 1, "--expect", 0).code == 75


def test_verify_passes_an_untouched_store(run: Run, store: Path) -> None:
    ran = run("verify", "--json")
    assert (ran.code, {one["problem"] for one in ran.json}) == (0, {None})


def test_verify_names_the_wrong_file(run: Run, store: Path) -> None:
    model = store / "models/price/2/model.onnx"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    ran = run("verify")
    assert ran.code == 1
    assert "price version 2: model.onnx" in ran.err
    assert "1 of 21 versions" in ran.err
    assert run("verify", "price", 1).code == 0
    assert run("verify", "price", 2).code == 1


def test_doctor_is_content_with_a_good_store(run: Run, store: Path) -> None:
    ran = run("doctor", "--listen", "127.0.0.1:0", "--json")
    assert (ran.code, {one["result"] for one in ran.json}) == (0, {"ok"})


def test_doctor_names_each_thing_that_is_wrong(run: Run, store: Path) -> None:
    (store / "routes.yaml").write_text(ROUTES.replace("model: echo,", "model: gone,"))
    model = store / "models/price/1/model.onnx"
    model.unlink()
    (store / "models/ranking/labels.json").write_text('{"champion": 9}')
    ran = run("doctor", "--json")
    found = {one["what"]: one for one in ran.json if one["result"] != "ok"}
    assert ran.code == 1
    assert found.keys() == {"price version 1", "model ranking", "routes"}
    assert "no model 'gone'" in found["routes"]["found"]
    assert all(one["advice"] for one in found.values())


def test_routes_are_shown_with_shares_and_versions(run: Run, store: Path) -> None:
    shown = run("routes", "show", "--json").json
    assert shown["digest"] == parse(ROUTES).digest
    arms = {arm["name"]: arm for route in shown["routes"] if route["name"] == "ranking" for arm in route["targets"]}
    assert (arms["canary"]["share"], arms["canary"]["resolved"]) == (0.1, 2)
    assert "price: override x-qa=on -> canary" in run("routes", "show").out


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
