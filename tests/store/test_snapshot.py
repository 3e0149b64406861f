"""A snapshot is cheap, and still never wrong."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from turnout_server.store import snapshot as snapshots
from turnout_server.store.blobs import Blobs, Stamp, directory
from turnout_server.store.manifest import Manifest
from turnout_server.store.store import BlobStore, DirectoryStore

Add = Callable[..., Manifest]


def settle(root: Path) -> None:
    """Make everything in the store look as if nobody had touched it for long."""
    for path in (root / "models").glob("*/labels.json"):
        os.utime(path, (1e9, 1e9))
    for path in (root / "models").glob("*"):
        os.utime(path, (1e9, 1e9))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were really looked at, in order."""
    seen: list[str] = []
    real = snapshots.list_versions

    def listing(blobs: Blobs, model: str) -> snapshots.Versions | None:
        seen.append(model)
        return real(blobs, model)

    monkeypatch.setattr(snapshots, "list_versions", listing)
    return seen


def test_a_snapshot_has_everything(store: BlobStore, add: Add) -> None:
    add("price", labels=["champion"])
    add("price")
    add("ranking")
    digest = store.write_routes("routes: {}")
    seen = store.snapshot()
    assert {name: state.versions for name, state in seen.models.items()} == {"price": (1, 2), "ranking": (1,)}
    assert {name: state.labels for name, state in seen.models.items()} == {"price": {"champion": 1}, "ranking": {}}
    assert (seen.routes_text, seen.routes_digest, seen.routes_problem) == ("routes: {}", digest, None)
    assert (seen.problems, seen.unreadable) == ({}, frozenset())


def test_a_snapshot_cannot_be_changed(store: BlobStore, add: Add) -> None:
    add(labels=["champion"])
    seen = store.snapshot()
    for mapping in (seen.models, seen.problems, seen.models["price"].labels):
        with pytest.raises(TypeError):
            mapping["price"] = None  # type: ignore[index]


def test_an_unreadable_model_does_not_hurt_the_others(root: Path, store: BlobStore, add: Add) -> None:
    add("price", labels=["champion"])
    add("ranking", labels=["champion"])
    (root / "models/price/labels.json").write_text("{")
    seen = store.snapshot()
    assert seen.unreadable == {"price"}
    assert seen.models["price"].versions == (1,)
    assert "price/labels.json" in seen.problems["price"][0]
    assert seen.models["ranking"].labels == {"champion": 1}


@pytest.mark.parametrize(
    ("module", "moment"), [(snapshots, "decode_labels"), (snapshots, "list_versions"), (directory, "_has")]
)
def test_a_store_that_goes_away_in_the_middle_of_a_look_is_unreadable_and_not_empty(
    module: object, moment: str, root: Path, store: BlobStore, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("price", labels=["champion"])
    real = getattr(module, moment)

    def too_late(*arguments: object) -> object:
        (root / "models").rename(root / "away")
        return real(*arguments)

    monkeypatch.setattr(module, moment, too_late)
    seen = store.snapshot()
    assert (seen.models, seen.unreadable) == ({}, {"price"})
    monkeypatch.undo()
    (root / "away").rename(root / "models")
    assert store.snapshot().models["price"].labels == {"champion": 1}


def test_what_is_no_model_is_reported(root: Path, store: BlobStore, add: Add) -> None:
    add("price")
    (root / "models/Bad Name").mkdir()
    (root / "models" / os.fsdecode(b"\xff")).mkdir()
    (root / "models/link").symlink_to("price")
    (root / "models/price/7").mkdir()
    seen = store.snapshot()
    assert list(seen.models) == ["price"]
    assert set(seen.problems) == {"Bad Name", "\\xff", "link", "price"}
    assert seen.problems["price"] == ("version 7 has no manifest.json and is left out",)


def test_what_is_no_model_any_more_is_said_and_what_was_known_of_it_holds(
    root: Path, store: BlobStore, add: Add
) -> None:
    add("price")
    store.snapshot()
    (root / "models/price").rename(root / "price")
    (root / "models/price").symlink_to("../price")
    seen = store.snapshot()
    assert seen.unreadable == {"price"}
    assert seen.problems["price"] == (
        "cannot read the versions: price is a symbolic link; a model has to be a directory here",
    )


def test_a_label_that_names_nothing_is_reported(root: Path, store: BlobStore, add: Add) -> None:
    add(labels=["champion"])
    add()
    shutil.rmtree(root / "models/price/1")
    seen = store.snapshot()
    assert seen.problems["price"] == ("label 'champion' names version 1, which is not there",)
    assert "price" not in seen.unreadable


def test_an_unreadable_table_is_reported(root: Path, store: BlobStore) -> None:
    (root / "routes.yaml").write_bytes(b"\xff")
    seen = store.snapshot()
    assert seen.routes_text is None
    assert "not UTF-8" in (seen.routes_problem or "")


def test_an_unchanged_model_is_not_looked_at_again(root: Path, store: BlobStore, add: Add, looks: list[str]) -> None:
    add("price", labels=["champion"])
    add("ranking")
    settle(root)
    first = store.snapshot()
    looks.clear()
    second = store.snapshot()
    assert looks == []
    assert all(second.models[name] is state for name, state in first.models.items())


def test_a_model_touched_just_now_is_looked_at_again(root: Path, store: BlobStore, add: Add, looks: list[str]) -> None:
    """Its directory's time may be too coarse to show the next change."""
    add()
    first = store.snapshot()
    looks.clear()
    assert store.snapshot().models["price"] is first.models["price"]
    assert looks == ["price"]


def test_every_change_is_seen_at_once(root: Path, store: BlobStore, add: Add) -> None:
    def remove() -> None:
        shutil.rmtree(root / "models/price/1")

    def edit_in_place() -> None:
        with (root / "models/price/labels.json").open("w") as labels:
            labels.write('{"edited": 2}')

    add("price")
    changes: list[Callable[[], object]] = [
        lambda: add("price"),
        lambda: add("ranking"),
        lambda: store.set_label("price", "champion", 1),
        lambda: store.set_label("price", "champion", 2),
        edit_in_place,
        remove,
        lambda: shutil.rmtree(root / "models/ranking"),
        lambda: store.write_routes("routes: {}"),
    ]
    for change in changes:
        settle(root)
        store.snapshot()
        before = store.snapshot()
        change()
        after = store.snapshot()
        assert after != before
        assert after == DirectoryStore(root).snapshot()


def test_a_version_copied_in_by_hand_is_seen_when_it_is_complete(root: Path, store: BlobStore, add: Add) -> None:
    """The manifest's arrival does not touch the model's directory."""
    add()
    (root / "models/price/2").mkdir()
    settle(root)
    assert store.snapshot().models["price"].versions == (1,)
    shutil.copy(root / "models/price/1/manifest.json", root / "models/price/2/manifest.json")
    settle(root)
    assert store.snapshot().models["price"].versions == (1, 2)


def test_even_a_change_that_no_time_shows_is_seen_after_a_while(root: Path, store: BlobStore, add: Add) -> None:
    add()
    add()
    settle(root)
    store.snapshot()
    (root / "models/price/2/manifest.json").unlink()
    settle(root)
    assert any(store.snapshot().models["price"].versions == (1,) for _ in range(512))


@pytest.fixture
def stamped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models whose stamps were taken, in order."""
    seen: list[str] = []
    real = directory.DirectoryBlobs.stamps

    def stamps(self: directory.DirectoryBlobs, *place: str) -> Iterator[Stamp]:
        for stamp in real(self, *place):
            seen.append(stamp.name)
            yield stamp

    monkeypatch.setattr(directory.DirectoryBlobs, "stamps", stamps)
    return seen


@pytest.mark.skipif(sys.platform != "linux", reason="nobody tells of changes")
def test_a_quiet_store_is_not_even_listed_but_every_thirtieth_time(
    root: Path, store: BlobStore, add: Add, stamped: list[str]
) -> None:
    add("price", labels=["champion"])
    settle(root)
    store.snapshot()
    before = store.snapshot()
    stamped.clear()
    assert all(store.snapshot() == before for _ in range(29))
    assert stamped == []
    store.snapshot()
    assert stamped == ["price"]


def test_a_store_that_has_not_settled_is_never_quiet(
    root: Path, store: BlobStore, add: Add, stamped: list[str]
) -> None:
    add()
    store.snapshot()
    stamped.clear()
    store.snapshot()
    store.snapshot()
    assert stamped == ["price"] * 2


def test_what_was_quiet_and_cannot_be_read_any_more_is_not_taken_for_good(
    root: Path, store: BlobStore, add: Add
) -> None:
    add()
    settle(root)
    before = [store.snapshot() for _ in range(3)][-1]
    (root / "models").rename(root / "away")
    assert store.snapshot().models == {}
    (root / "away").rename(root / "models")
    assert store.snapshot().models == before.models
