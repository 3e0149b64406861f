"""Suspending a model, in the store, for every gateway on it; and stores that may not be written."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from turnout_server.store.blobs import Blobs
from turnout_server.store.blobs.directory import DirectoryBlobs
from turnout_server.store.manifest import Manifest
from turnout_server.store.publish import Draft, publish
from turnout_server.store.store import BlobStore
from turnout_server.vocabulary.errors import ModelNotFoundError, StoreError, StoreReadOnlyError

Add = Callable[..., Manifest]


def suspended(store: BlobStore) -> list[str]:
    """The models that a snapshot shows as suspended."""
    return [name for name, state in store.snapshot().models.items() if state.suspended]


def test_a_suspended_model_is_seen_to_be_until_it_is_resumed(store: BlobStore, add: Add) -> None:
    add("price")
    add("ranking")
    assert suspended(store) == []
    assert store.suspend("price")
    assert suspended(store) == ["price"]
    assert store.resume("price")
    assert suspended(store) == []


def test_it_appears_and_vanishes_even_for_who_has_settled(root: Path, store: BlobStore, add: Add) -> None:
    add("price")
    for change in (store.suspend, store.resume):
        os.utime(root / "models/price", (1e9, 1e9))
        store.snapshot()
        before = store.snapshot()
        change("price")
        assert store.snapshot() != before


def test_suspending_again_keeps_since_when(store: BlobStore, blobs: Blobs, add: Add) -> None:
    add()
    store.suspend("price")
    first = blobs.get("models/price/suspended.json")
    assert first is not None
    assert datetime.fromisoformat(json.loads(first.content)["since"]).tzinfo is not None
    assert not store.suspend("price")
    assert blobs.get("models/price/suspended.json") == first


def test_only_what_is_there_can_be_suspended(store: BlobStore) -> None:
    for change in (store.suspend, store.resume):
        with pytest.raises(ModelNotFoundError):
            change("price")


def test_a_suspended_model_can_be_published_and_labelled(store: BlobStore, add: Add) -> None:
    add()
    store.suspend("price")
    assert add(labels=["champion"]).version == 2
    assert suspended(store) == ["price"]
    assert store.labels("price") == {"champion": 2}


# ---------------------------------------------------------------- a store that may not be written


def forbid_writing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let every file opened for writing fail, as on a read-only mount or for another user."""
    real = os.open

    def opened(path: str, flags: int, *more: int, **named: int) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", opened)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_writing_what_may_not_be_written_is_refused_and_says_why(
    number: int, root: Path, store: BlobStore, add: Add, draft: Callable[..., Draft], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(labels=["champion"])
    drafted = draft()
    forbid_writing(monkeypatch, number)
    writes: list[Callable[[], object]] = [
        lambda: store.suspend("price"),
        lambda: store.set_label("price", "challenger", 1),
        lambda: store.write_routes("routes: {}"),
        lambda: publish(root, drafted),
        lambda: DirectoryBlobs(root).delete("models/price/labels.json"),
    ]
    for write in writes:
        with pytest.raises(StoreReadOnlyError, match=os.strerror(number)):
            write()
    assert store.snapshot().models["price"].labels == {"champion": 1}


def test_another_failure_to_write_is_not_called_read_only(
    root: Path, store: BlobStore, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add()
    forbid_writing(monkeypatch, errno.ENOSPC)
    with pytest.raises(StoreError, match="No space left") as caught:
        store.suspend("price")
    assert not isinstance(caught.value, StoreReadOnlyError)


def test_resuming_what_is_not_suspended_writes_nothing(
    root: Path, store: BlobStore, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add()
    forbid_writing(monkeypatch, errno.EROFS)
    assert not store.resume("price")


def test_a_source_that_may_not_be_read_does_not_make_the_store_read_only(
    root: Path, draft: Callable[..., Draft], monkeypatch: pytest.MonkeyPatch
) -> None:
    drafted = draft()
    source = drafted.files["model.onnx"]
    real = Path.open

    def opened(self: Path, *arguments: str) -> object:
        if self == source:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self, *arguments)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(StoreError, match=r"^cannot read the file for model\.onnx: Permission denied$") as caught:
        publish(root, drafted)
    assert not isinstance(caught.value, StoreReadOnlyError)
