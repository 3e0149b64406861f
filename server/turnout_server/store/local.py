"""A version's files where a loader can read them: on this machine, and verified."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from turnout_server.store import files
from turnout_server.store.blobs.directory import measure, walk
from turnout_server.store.layout import version_folder
from turnout_server.store.manifest import MANIFEST_NAME, Manifest, encode, size_of
from turnout_server.store.patience import Endless, Waiting
from turnout_server.store.store import BlobStore
from turnout_server.store.verify import check_digests

SLOWEST_BYTES_S = 4 << 20
"""What a disk brings at least in a second."""
MOST_MORE_S = 3600.0
"""How much longer a version's files are waited for at most, whatever its manifest claims."""


def reading_s(manifest: Manifest) -> float:
    """Return how many seconds longer than nothing a version's files may take to be read."""
    return min(size_of(manifest) / SLOWEST_BYTES_S, MOST_MORE_S)


class LocalFiles:
    """Verified files of the versions in a store.

    Those of a store in a directory are used where they are. Those of any other are fetched, and stay in a directory of
    this object's until it is closed.
    """

    def __init__(self, store: BlobStore, waiting: Waiting | None = None) -> None:
        """Serve the files of *store*.

        Args:
            store: has the versions.
            waiting: for the disk, as much longer as `reading_s` says; None for as long as it takes.
        """
        self._store = store
        self._waiting = waiting or Endless()
        self._fetched: Path | None = None

    def verified(self, model: str, version: int) -> tuple[Manifest, Path]:
        """Return a version's manifest, and the directory with its files, whose digests are those of the manifest.

        Raises:
            ModelNotFoundError, VersionNotFoundError: there is no such version.
            InvalidManifestError: its manifest cannot be read.
            DigestMismatchError: a file is missing, changed, not a plain file, or not in the manifest.
            StoreError: the store cannot be read, or did not answer in time.
        """
        manifest = self._store.manifest(model, version)
        # The same number may be another version by now, and what came too late is kept.
        key = model, version, hashlib.sha256(encode(manifest)).digest()
        what = f"the files of {model} version {version}"
        return self._waiting.do(what, lambda: self._verified(model, version), key, more_s=reading_s(manifest))

    def _verified(self, model: str, version: int) -> tuple[Manifest, Path]:
        place = self._store.blobs.local(version_folder(model, version))
        if place is not None:
            return self._store.verify(model, version), place
        return self._fetch(model, version)

    def close(self) -> None:
        """Remove what was fetched."""
        if self._fetched is not None:
            shutil.rmtree(self._fetched, ignore_errors=True)
            self._fetched = None

    def _fetch(self, model: str, version: int) -> tuple[Manifest, Path]:
        manifest = self._store.manifest(model, version)
        folder = version_folder(model, version)
        with files.plain_errors("keep a version's files"):
            if self._fetched is None:
                self._fetched = Path(tempfile.mkdtemp(prefix="turnout-"))
            place = Path(tempfile.mkdtemp(dir=self._fetched))
            for entry in manifest.files:
                target = place / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                self._store.blobs.download(f"{folder}/{entry.path}", target)
            (place / MANIFEST_NAME).write_bytes(encode(manifest))
            check_digests(walk(place), lambda path, most: measure(place / path, most), manifest)
        return manifest, place
