"""Files to load from: on this machine, and verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.store.blobs.memory import MemoryBlobs
from turnout_server.store.blobs import Blobs
from turnout_server.store.local import LocalFiles
from turnout_server.store.manifest import Manifest
from turnout_server.store.store import BlobStore
from turnout_server.vocabulary.errors import DigestMismatchError, VersionNotFoundError

Add = Callable[..., Manifest]


@pytest.fixture
def local(store: BlobStore) -> Iterator[LocalFiles]:
    """The local files of the store."""
    files = LocalFiles(store)
    yield files
    files.close()


def test_a_versions_files_are_at_hand(local: LocalFiles, add: Add) -> None:
    published = add()
    manifest, place = local.verified("price", 1)
    assert manifest == published
    assert (place / "model.onnx").read_bytes() == b"graph" * 1000
    assert (place / "external/weights.bin").read_bytes() == b"weights" * 1000


def test_a_directorys_files_are_used_where_they_are(root: Path, local: LocalFiles, add: Add) -> None:
    add()
    assert local.verified("price", 1)[1] == root / "models/price/1"


def test_what_is_missing_is_named(local: LocalFiles, add: Add) -> None:
    add()
    with pytest.raises(VersionNotFoundError):
        local.verified("price", 2)


def test_what_was_changed_is_not_loaded(local: LocalFiles, blobs: Blobs, tmp_path: Path, add: Add) -> None:
    add()
    if isinstance(blobs, MemoryBlobs):
        blobs.corrupt("models/price/1/model.onnx", b"other")
    else:
        path = tmp_path / "store/models/price/1/model.onnx"
        path.chmod(0o644)
        path.write_bytes(b"other")
    with pytest.raises(DigestMismatchError, match=r"model\.onnx: has 5 bytes"):
        local.verified("price", 1)


def test_what_was_fetched_goes_when_it_is_closed(add: Add, blobs: Blobs) -> None:
    add()
    local = LocalFiles(BlobStore(blobs))
    place = local.verified("price", 1)[1]
    local.close()
    assert place.exists() is (blobs.local("models/price/1") is not None)
