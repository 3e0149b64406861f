"""Old versions go when they are told to, and never one that is in use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.e2e.tiny_store import ROUTES
from tests.routing.test_overlay import overlay
from turnout_server.routing.overlay import encode
from turnout_server.store import prune as pruning
from turnout_server.store.audit import By
from turnout_server.store.layout import ROUTES_AUDIT
from turnout_server.store.store import DirectoryStore


@pytest.fixture
def six(store: Path, run: Run) -> DirectoryStore:
    """Four more versions of `price`, of which 1 is champion and 2 is challenger."""
    for _ in range(4):
        assert run("publish", store / "models/price/1/model.onnx", "--model", "price").code == 0
    return DirectoryStore(store)


def test_nothing_goes_before_it_is_told_to(run: Run, six: DirectoryStore) -> None:
    ran = run("prune", "price", "--keep", 2)
    assert "nothing is removed yet; --yes removes versions 3, 4" in ran.err
    assert {line.split()[0]: line.split()[4] for line in ran.out.splitlines()[1:]} == {
        "6": "keep", "5": "keep", "4": "remove", "3": "remove", "2": "keep", "1": "keep",
    }  # fmt: skip
    assert max(map(len, ran.out.splitlines())) <= 80
    assert six.versions("price") == (1, 2, 3, 4, 5, 6)


def test_what_nobody_names_goes(run: Run, six: DirectoryStore, store: Path) -> None:
    (store / "routes.yaml").write_text(ROUTES.replace("version: champion, weight: 50", "version: 3, weight: 50"))
    six.set_label("price", "champion", None)
    done = run("prune", "price", "--keep", 2, "--yes", "--json").json
    assert done["removed"] == [1, 4]
    why = {row["version"]: row["why"] for row in done["versions"] if row["why"]}
    assert why == {2: "label challenger", 3: "route price", 5: "one of the newest 2", 6: "one of the newest 2"}
    assert six.versions("price") == (2, 3, 5, 6)
    assert [row["what"] for row in run("label", "price", "--history", "--json").json if row["label"] is None][:2] in (
        ["version 4 removed", "version 1 removed"],
        ["version 1 removed", "version 4 removed"],
    )
    assert run("prune", "price", "--keep", 2, "--yes").err == "nothing to remove\n"


def test_mirrors_and_other_tables_count(run: Run, six: DirectoryStore, store: Path, tmp_path: Path) -> None:
    mirror = "    fallback: control\n    mirrors: [{model: price, version: 3}]\n  ranking:"
    (store / "routes.yaml").write_text(ROUTES.replace("    fallback: control\n  ranking:", mirror))
    other = tmp_path / "other.yaml"
    other.write_text(ROUTES.replace("version: champion, weight: 50", "version: 4, weight: 50"))
    assert run("prune", "price", "--keep", 1, "--json").json["versions"][2]["what"] == "remove"
    kept = {row["version"]: row["why"] for row in run("prune", "price", "--routes", other, "--json").json["versions"]}
    assert (kept[3], kept[4]) == ("route price", f"one of the newest 3, route price in {other}")


def test_a_table_that_nobody_can_read_keeps_everything(run: Run, six: DirectoryStore, store: Path) -> None:
    (store / "routes.yaml").write_text("routes: 3")
    assert run("prune", "price", "--yes").code == 65
    assert six.versions("price") == (1, 2, 3, 4, 5, 6)


def once_it_is_begun(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Have something happen when a prune has said that it begins, and before it looks again."""
    begin = pruning.removal.begin

    def begun(*given: Any) -> str | None:
        tag = begin(*given)
        happens()
        return tag

    monkeypatch.setattr(pruning.removal, "begin", begun)


def test_a_label_that_moves_there_meanwhile_saves_a_version(
    run: Run, six: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    once_it_is_begun(monkeypatch, lambda: six.set_label("price", "challenger", 3))
    ran = run("prune", "price", "--keep", 3, "--yes")
    assert ran.code == 0
    assert "version 3 was named by somebody meanwhile, and stays" in ran.err
    assert 3 in six.versions("price")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (
            "price.json",
            b'{"format": 2, "labels": {"price": {"champion": 3}}}',
            "rollouts/price.json: $.format: found 2",
        ),
        ("price.json", b"{", "rollouts/price.json: not JSON"),
        ("price.txt", b"3", "rollouts/price.txt cannot be read"),
    ],
)
def test_what_is_decided_in_ways_that_nobody_can_read_may_name_anything(
    run: Run, six: DirectoryStore, name: str, content: bytes, told: str
) -> None:
    six.blobs.put_if_absent(f"rollouts/{name}", content)
    ran = run("prune", "price", "--keep", 3, "--yes")
    assert ran.code != 0
    assert told in ran.err.replace("\n", " ")
    assert six.versions("price") == (1, 2, 3, 4, 5, 6)


def test_an_enrolment_that_was_decided_names_no_version(run: Run, six: DirectoryStore) -> None:
    six.blobs.put_if_absent("rollouts/price.json", encode(overlay(enrolment=0.3)))
    assert run("prune", "price", "--keep", 3, "--yes").code == 0
    assert 3 not in six.versions("price")


def test_a_table_of_others_is_looked_at_again(
    run: Run, six: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(ROUTES)
    named = ROUTES.replace("version: champion, weight: 50", "version: 3, weight: 50")
    once_it_is_begun(monkeypatch, lambda: other.write_text(named))
    assert run("prune", "price", "--keep", 3, "--yes", "--routes", other).code == 0
    assert 3 in six.versions("price")


def test_a_table_that_is_announced_counts_as_written(run: Run, six: DirectoryStore) -> None:
    text = ROUTES.replace("version: champion, weight: 50", "version: 3, weight: 50").encode()
    six.audit.announce(ROUTES_AUDIT, "routes", "turnout routes apply", By(), None, text)
    kept = {row["version"]: row["why"] for row in run("prune", "price", "--json").json["versions"]}
    assert kept[3] == "route price that is being written"


def test_a_table_is_not_written_that_names_what_goes_meanwhile(
    run: Run, six: DirectoryStore, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was looked at, and then a version went; the table that was there stays."""
    changed = tmp_path / "changed.yaml"
    target = "{name: a, model: price, version: 3, weight: 1}"
    changed.write_text(f"routes: {{cost: {{task: tensors, salt: s, targets: [{target}]}}}}")
    write = DirectoryStore.write_routes

    def overtaken(*given: Any) -> str:
        assert run("prune", "price", "--keep", 3, "--yes").code == 0
        return write(*given)

    before = (store / "routes.yaml").read_text()
    with monkeypatch.context() as patched:
        patched.setattr(DirectoryStore, "write_routes", overtaken)
        ran = run("routes", "apply", changed)
    assert ran.code == 65
    assert "no version 3" in ran.err
    assert "removed meanwhile" in ran.err
    assert (store / "routes.yaml").read_text() == before
    assert [row["how"] for row in run("routes", "history", "--json").json] == []


def test_who_asks_wrongly_is_told(run: Run, store: Path) -> None:
    assert run("prune", "prices").code == 66
    assert run("prune", "price", "--keep", 0).code == 2
