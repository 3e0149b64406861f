"""Versions that nobody needs go; whatever somebody names stays, whoever comes in between and wherever it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.store.blobs.memory import MemoryBlobs
from tests.store.interleaving import Killed
from turnout_server.store.layout import model_audit
from turnout_server.store.manifest import Manifest
from turnout_server.store.prune import plan, remove, remove_leftovers
from turnout_server.store.publish import Draft, publish
from turnout_server.store.store import BlobStore, By
from turnout_server.vocabulary.errors import ModelNotFoundError, StoreError

Add = Callable[..., Manifest]


@pytest.fixture
def six(store: BlobStore, add: Add) -> BlobStore:
    """Six versions; 2 is champion."""
    for _ in range(6):
        add()
    store.set_label("price", "champion", 2)
    return store


def test_the_newest_and_what_is_named_stay(six: BlobStore) -> None:
    found = plan(six, "price", 2, {1: ("route price",), 9: ("route price",)})
    assert found.remove == (3, 4)
    assert found.keep == {
        1: ("route price",),
        2: ("label champion",),
        5: ("one of the newest 2",),
        6: ("one of the newest 2",),
    }


@pytest.mark.parametrize(
    ("path", "content", "stays"),
    [
        ("experiments/checkout/definition.yaml", b"arms:\n  a: price@3\n", True),
        ("experiments/checkout/definition.yaml", b"arms:\n  a: pricey@3\n", False),
        ("experiments/checkout/definition.yaml", b"arms:\n  a: price@33\n", False),
    ],
)
def test_what_experiments_name_stays(six: BlobStore, path: str, content: bytes, stays: bool) -> None:
    six.blobs.put_if_absent(path, content)
    found = plan(six, "price", 2, {})
    assert (3 in found.keep) is stays
    assert not stays or found.keep[3] == (path,)


def test_what_cannot_be_read_may_name_anything(root: Path, six: BlobStore) -> None:
    (root / "experiments").mkdir()
    (root / "experiments/price.json").symlink_to("nowhere")
    with pytest.raises(StoreError, match=r"experiments/price\.json"):
        plan(six, "price", 2, {})
    (root / "experiments/price.json").unlink()
    (root / "models/price/labels.json").write_text("no JSON")
    with pytest.raises(StoreError):
        plan(six, "price", 2, {})


def test_a_model_that_is_not_there_is_named(store: BlobStore) -> None:
    with pytest.raises(ModelNotFoundError):
        plan(store, "price", 1, {})


def test_a_removed_version_is_gone_with_its_files_and_its_number(six: BlobStore, add: Add) -> None:
    assert remove(six, "price", 3, By("ada@laptop", "turnout prune"))
    assert not remove(six, "price", 3)
    assert six.versions("price") == (1, 2, 4, 5, 6)
    assert six.snapshot().problems == {}
    assert not six.blobs.walk("models/price").keys() & {"3", "3/model.onnx"}
    last = six.audit.entries(model_audit("price"))[-1]
    assert (last.entry.action, last.entry.who, last.is_done) == ("version 3 removed", "ada@laptop", True)
    assert add().version == 7


def test_a_version_that_is_named_while_it_goes_stays_whole_all_the_time(six: BlobStore) -> None:
    def named() -> bool:
        assert six.verify("price", 3).version == 3
        return True

    assert not remove(six, "price", 3, is_wanted=named)
    assert six.verify("price", 3).version == 3
    assert remove_leftovers(six, "price") == ()
    assert "version 3 removed" not in [noted.entry.action for noted in six.audit.entries(model_audit("price"))]


def test_a_label_that_is_announced_counts_as_set(six: BlobStore) -> None:
    six.audit.announce(model_audit("price"), "labels", "canary -> 3", By(), None, b'{"canary": 3}')
    assert plan(six, "price", 2, {}).keep[3] == ("label canary that is being set",)


def test_whoever_dies_on_the_way_leaves_what_the_next_one_removes(tmp_path: Path, draft: Callable[..., Draft]) -> None:
    """Death at every request: the version is whole, or it is gone; and in the end nothing is left of it."""
    outcomes = set()
    for last in range(1, 40):
        left = [1000]

        def step(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        blobs = MemoryBlobs(step)
        for _ in range(3):
            publish(blobs, draft())
        left[0] = last
        store = BlobStore(blobs)
        try:
            remove(store, "price", 2)
        except Killed:
            died = True
        else:
            died = False
        left[0] = 1000
        is_there = 2 in store.versions("price")
        outcomes.add((died, is_there))
        if is_there:
            assert store.verify("price", 2).version == 2
        remove_leftovers(store, "price")
        remove(store, "price", 2)
        assert not [path for path in blobs.walk("models/price") if path.startswith(("2/", ".removals/"))]
        assert store.snapshot().problems == {}
    assert outcomes == {(True, True), (True, False), (False, False)}


def test_of_two_who_remove_a_version_one_decides(six: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    announce = type(six.audit).announce

    def overtaken(*given: Any) -> str:
        monkeypatch.undo()
        assert remove(six, "price", 3)
        return announce(*given)

    monkeypatch.setattr(type(six.audit), "announce", overtaken)
    assert not remove(six, "price", 3, is_wanted=lambda: True)
    assert 3 not in six.versions("price")
    assert not six.blobs.walk("models/price").keys() & {"3", "3/manifest.json"}


def test_of_two_who_remove_a_version_the_one_who_decides_is_told_so(six: BlobStore) -> None:
    def others_clean_up() -> bool:
        assert remove_leftovers(six, "price") == (3,)
        return False

    assert not remove(six, "price", 3, is_wanted=others_clean_up)
    assert 3 not in six.versions("price")
    removed = [noted for noted in six.audit.entries(model_audit("price")) if noted.entry.action == "version 3 removed"]
    assert len(removed) <= 1
    assert not six.blobs.walk("models/price").keys() & {"3", "3/manifest.json"}


@pytest.mark.parametrize("is_decided", [True, False])
def test_a_removal_whose_process_died_ends_as_it_was_decided_or_else_as_it_is_now(
    six: BlobStore, is_decided: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> bool:
        raise Killed

    monkeypatch.setattr(six.blobs, "delete" if is_decided else "put_if_match", dies)
    with pytest.raises(Killed):
        remove(six, "price", 3)
    monkeypatch.undo()
    assert six.verify("price", 3).version == 3
    assert remove_leftovers(six, "price", lambda version: version == 3) == ((3,) if is_decided else ())
    assert (3 not in six.versions("price")) is is_decided
    assert remove_leftovers(six, "price") == ()


def test_what_a_publisher_has_not_finished_is_not_a_leftover(root: Path, six: BlobStore) -> None:
    (root / "models/price/7").mkdir()
    assert remove_leftovers(six, "price") == ()
