"""Files to load from: on this machine, and verified."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.store.blobs.memory import MemoryBlobs
from turnout_server.store.blobs import Blobs, Size
from turnout_server.store.blobs.directory import DirectoryBlobs
from turnout_server.store.local import MOST_MORE_S, LocalFiles, reading_s
from turnout_server.store.manifest import FileEntry, Manifest
from turnout_server.store.patience import Patience
from turnout_server.store.publish import Draft, publish
from turnout_server.store.store import BlobStore
from turnout_server.vocabulary.errors import DigestMismatchError, StoreError, VersionNotFoundError

Add = Callable[..., Manifest]
PATIENCE_S = 30


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


class Hanging(DirectoryBlobs):
    """A directory on a disk that does not answer for one version, until it is let go."""

    def __init__(self, root: Path, folder: str) -> None:
        super().__init__(root)
        self._folder = folder
        self.go = threading.Event()
        self.reads = 0

    def measure(self, key: str, most: int) -> Size:
        if key.startswith(f"{self._folder}/"):
            self.reads += 1
            assert self.go.wait(PATIENCE_S)
        return super().measure(key, most)


@pytest.fixture
def hanging(root: Path, draft: Callable[..., Draft]) -> Iterator[Hanging]:
    """Two versions of `price`, the first of them on such a disk."""
    for _ in range(2):
        publish(DirectoryBlobs(root), draft(model="price"))
    disk = Hanging(root, "models/price/1")
    yield disk
    disk.go.set()


def test_a_disk_that_hangs_keeps_nobody_who_reads_a_versions_files(hanging: Hanging) -> None:
    patience = Patience(within_s=0.2)
    local = LocalFiles(BlobStore(hanging), patience)
    with pytest.raises(StoreError, match=r"^cannot read the files of price version 1: the disk has not answered for"):
        local.verified("price", 1)
    for _ in range(3):
        with pytest.raises(StoreError, match="the files of price version 1: the disk does not answer"):
            local.verified("price", 1)
    assert (hanging.reads, patience.stuck) == (1, 1), "one thread, however often it is tried"
    patience._within_s = PATIENCE_S
    assert local.verified("price", 2)[0].version == 2


def test_a_version_is_verified_once_the_disk_answers(hanging: Hanging) -> None:
    patience = Patience(within_s=0.2)
    local = LocalFiles(BlobStore(hanging), patience)
    with pytest.raises(StoreError):
        local.verified("price", 1)
    patience._within_s = PATIENCE_S
    hanging.go.set()
    while patience.stuck:
        threading.Event().wait(0.001)
    assert local.verified("price", 1)[0].version == 1


def test_large_files_are_waited_for_longer_but_no_claim_makes_it_endless(add: Add) -> None:
    published = add()

    def of_size(size: int) -> Manifest:
        return msgspec.structs.replace(published, files=(FileEntry("model.onnx", "0" * 64, size),))

    assert reading_s(of_size(0)) == 0
    assert reading_s(of_size(400 << 20)) == 100
    assert reading_s(of_size(1 << 62)) == MOST_MORE_S
