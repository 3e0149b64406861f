"""What is shown of a store's models, labels that move, and files that are checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from turnout_server.store.store import DirectoryStore


def test_models_lists_versions_newest_first_with_their_labels(run: Run, store: Path) -> None:
    rows = [row for row in run("models", "--json").json if row["model"] == "price"]
    assert [(row["version"], row["task"], row["labels"], row["metrics"]) for row in rows] == [
        (2, "price", ["challenger"], {"rmse": 12.5}),
        (1, "price", ["champion"], {"rmse": 12.5}),
    ]


def test_a_model_that_was_unloaded_is_listed_as_suspended(run: Run, store: Path) -> None:
    DirectoryStore(store).suspend("ranking")
    states = {(row["model"], row["state"]) for row in run("models", "--json").json}
    assert {("ranking", "SUSPENDED"), ("price", "")} <= states


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
    assert "1 of 22 versions" in ran.err
    assert "price version 2" not in ran.out, "two columns say so already"
    assert run("verify", "price", 1).code == 0
    assert run("verify", "price", 2).code == 1
