"""What is particular to a directory: links, locks, clocks, crashes in the middle of a write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from turnout_server.store import files
from turnout_server.store.blobs import Entry, Node
from turnout_server.store.blobs.directory import DirectoryBlobs
from turnout_server.vocabulary.errors import StoreError


@pytest.fixture
def directory(root: Path) -> DirectoryBlobs:
    """A directory that is there, with a blob in it."""
    blobs = DirectoryBlobs(root)
    blobs.put_if_absent("m/a/labels", b"first")
    return blobs


def test_keys_are_paths(root: Path, directory: DirectoryBlobs) -> None:
    assert (root / "m/a/labels").read_bytes() == b"first"
    assert directory.local("m/a") == root / "m/a"


def test_a_place_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        DirectoryBlobs(tmp_path / "nowhere").check()


def test_links_are_neither_followed_nor_marked(root: Path, directory: DirectoryBlobs) -> None:
    (root / "m/link").symlink_to("a")
    assert directory.list("m/link") is None
    found = directory.list("m", "labels")
    assert found is not None
    assert sorted(found) == [Entry("a", True, True), Entry("link", True, False)]
    assert directory.walk("m") == {"a": Node.FOLDER, "a/labels": Node.FILE, "link": Node.LINK}
    assert "symbolic link" in [stamp.problem for stamp in directory.stamps("m")][1]


def test_a_write_that_dies_before_its_end_changes_nothing(
    root: Path, directory: DirectoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(descriptor: int) -> None:
        raise KeyboardInterrupt

    seen = directory.get("m/a/labels")
    assert seen is not None
    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        directory.put_if_match("m/a/labels", b"second" * 1000, seen.tag)
    monkeypatch.undo()
    assert directory.get("m/a/labels") == seen
    assert directory.put_if_match("m/a/labels", b"third", seen.tag)


def test_conditional_writes_wait_for_the_stores_lock(
    root: Path, directory: DirectoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishers of the release before hold it while they choose a number: what is written meanwhile is noticed."""
    held: list[bool] = []
    real = files.replace

    def replaced(path: Path, content: bytes, staging: Path) -> None:
        held.append(files.is_locked(root / ".staging/lock"))
        real(path, content, staging)

    monkeypatch.setattr(files, "replace", replaced)
    seen = directory.get("m/a/labels")
    assert seen is not None
    assert directory.put_if_match("m/a/labels", b"second", seen.tag)
    assert directory.put_if_absent("m/a/other", b"")
    assert held == [True, True]


@pytest.mark.parametrize("taken", ["file", "empty", "full", "link"])
def test_a_tree_replaces_nothing(root: Path, directory: DirectoryBlobs, taken: str) -> None:
    place = root / "m/1"
    if taken == "file":
        place.touch()
    elif taken == "link":
        place.symlink_to("nowhere")
    else:
        place.mkdir()
        if taken == "full":
            (place / "file").touch()
    before = place.lstat().st_ino
    with directory.workspace() as tree:
        (tree / "last").touch()
        assert not directory.put_tree_if_absent("m/1", tree, "last")
    assert place.lstat().st_ino == before


@pytest.mark.parametrize("old", ["folder", "file", "neither", "both"])
def test_a_stamp_settles_when_the_clock_must_have_moved_on(root: Path, directory: DirectoryBlobs, old: str) -> None:
    if old in ("file", "both"):
        os.utime(root / "m/a/labels", (1e9, 1e9))
    if old in ("folder", "both"):
        os.utime(root / "m/a", (1e9, 1e9))
    assert [stamp.is_settled for stamp in directory.stamps("m", "labels")] == [old == "both"]


def test_a_blob_edited_in_place_changes_its_folders_stamp(root: Path, directory: DirectoryBlobs) -> None:
    before = [stamp.mark for stamp in directory.stamps("m", "labels")]
    with (root / "m/a/labels").open("a") as labels:
        labels.write("more")
    assert [stamp.mark for stamp in directory.stamps("m", "labels")] != before
