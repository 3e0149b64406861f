"""What every backend of blobs promises. Another backend joins by a line in `tests/store/conftest.py`."""

from __future__ import annotations

import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from turnout_server.store.blobs import Blobs, Entry, Node, Size
from turnout_server.vocabulary.errors import StoreError

WRITERS = 16


def put_tree(blobs: Blobs, folder: str, **contents: bytes) -> bool:
    """Put a tree of files, `weights` in a folder of its own."""
    with blobs.workspace() as tree:
        (tree / "deep").mkdir()
        for name, content in contents.items():
            (tree / name if name != "weights" else tree / "deep/weights").write_bytes(content)
        return blobs.put_tree_if_absent(folder, tree, "last")


def test_a_blob_is_created_once(blobs: Blobs) -> None:
    assert blobs.get("a/b.json") is None
    assert blobs.put_if_absent("a/b.json", b"first")
    assert not blobs.put_if_absent("a/b.json", b"second")
    found = blobs.get("a/b.json")
    assert found is not None
    assert found.content == b"first"


def test_a_blob_is_replaced_only_by_who_has_seen_it_as_it_is(blobs: Blobs) -> None:
    assert not blobs.put_if_match("a", b"mine", "tag")
    blobs.put_if_absent("a", b"first")
    seen = blobs.get("a")
    assert seen is not None
    assert blobs.put_if_match("a", b"second", seen.tag)
    assert not blobs.put_if_match("a", b"third", seen.tag)
    now = blobs.get("a")
    assert now is not None
    assert now.content == b"second"
    assert now.tag != seen.tag


def test_a_deleted_blob_is_gone_and_matches_nothing(blobs: Blobs) -> None:
    blobs.put_if_absent("a/b", b"first")
    seen = blobs.get("a/b")
    assert seen is not None
    assert blobs.delete("a/b")
    assert not blobs.delete("a/b")
    assert blobs.get("a/b") is None
    assert not blobs.put_if_match("a/b", b"second", seen.tag)
    assert blobs.put_if_absent("a/b", b"again")


def test_a_folder_goes_with_all_that_is_in_it_and_nothing_else(blobs: Blobs) -> None:
    assert put_tree(blobs, "price/1", weights=b"w" * 100, last=b"1")
    assert put_tree(blobs, "price/10", weights=b"w" * 100, last=b"10")
    assert blobs.delete_tree("price/1")
    assert not blobs.delete_tree("price/1")
    assert blobs.get("price/1/last") is None
    assert [entry.name for entry in blobs.list("price") or ()] == ["10"]
    assert blobs.measure("price/10/deep/weights", 1000).bytes == 100
    assert put_tree(blobs, "price/1", last=b"again")


def test_of_many_creators_at_once_one_wins(blobs: Blobs) -> None:
    with ThreadPoolExecutor(WRITERS) as threads:
        for turn in range(5):
            key = f"race/{turn}"
            contents = [b"%d" % writer for writer in range(WRITERS)]
            won = list(threads.map(lambda content, key=key: blobs.put_if_absent(key, content), contents))
            found = blobs.get(key)
            assert found is not None
            assert [content for content, win in zip(contents, won, strict=True) if win] == [found.content]


def test_no_change_of_many_writers_at_once_is_lost(blobs: Blobs) -> None:
    blobs.put_if_absent("count", b"0")

    def add_one(_: int) -> None:
        while True:
            seen = blobs.get("count")
            assert seen is not None
            if blobs.put_if_match("count", b"%d" % (int(seen.content) + 1), seen.tag):
                return

    with ThreadPoolExecutor(WRITERS) as threads:
        list(threads.map(add_one, range(WRITERS)))
    counted = blobs.get("count")
    assert counted is not None
    assert counted.content == b"%d" % WRITERS


def test_a_folder_is_listed_with_those_that_have_the_marker(blobs: Blobs) -> None:
    assert blobs.list("m") is None
    for key in ("m/1/mark", "m/1/other", "m/2/other", "m/file", "m/.hidden", "n/mark"):
        blobs.put_if_absent(key, b"")
    found = blobs.list("m", "mark")
    assert found is not None
    assert sorted(found) == [Entry("1", True, True), Entry("2", True, False), Entry("file", False, False)]


def test_a_tree_appears_whole_and_once(blobs: Blobs, tmp_path: Path) -> None:
    assert put_tree(blobs, "m/1", last=b"l", weights=b"w" * 1000)
    assert not put_tree(blobs, "m/1", last=b"other", more=b"m")
    assert {path for path, node in blobs.walk("m/1").items() if node is Node.FILE} == {"last", "deep/weights"}
    assert blobs.measure("m/1/deep/weights", 999) == Size(1000, "")
    assert blobs.measure("m/1/deep/weights", 1000) == Size(1000, hashlib.sha256(b"w" * 1000).hexdigest())
    blobs.download("m/1/deep/weights", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"w" * 1000


def test_what_is_not_there_cannot_be_measured_or_downloaded(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="a/b"):
        blobs.measure("a/b", 1)
    with pytest.raises(StoreError, match="a/b"):
        blobs.download("a/b", tmp_path / "fetched")


def test_a_folders_stamp_changes_with_what_is_directly_in_it(blobs: Blobs) -> None:
    def marks() -> dict[str, object]:
        return {stamp.name: stamp.mark for stamp in blobs.stamps("m", "labels")}

    assert marks() == {}
    blobs.put_if_absent("m/a/labels", b"first")
    blobs.put_if_absent("m/b/labels", b"first")
    blobs.put_if_absent("m/file", b"")
    seen = [marks()]
    assert list(seen[0]) == ["a", "b"]
    labels = blobs.get("m/a/labels")
    assert labels is not None
    blobs.put_if_match("m/a/labels", b"other", labels.tag)
    seen.append(marks())
    blobs.put_if_absent("m/a/suspended", b"")
    seen.append(marks())
    blobs.delete("m/a/suspended")
    seen.append(marks())
    put_tree(blobs, "m/a/1", last=b"")
    seen.append(marks())
    for before, after in itertools.pairwise(seen):
        assert before["a"] != after["a"]
        assert before["b"] == after["b"]
    assert marks() == seen[-1]


def test_a_workspace_is_empty_and_goes(blobs: Blobs) -> None:
    with blobs.workspace() as first, blobs.workspace() as second:
        assert first != second
        assert list(first.iterdir()) == list(second.iterdir()) == []
        (first / "file").touch()
    assert not first.exists()
