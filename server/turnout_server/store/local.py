"""A version's files where a loader can read them: on this machine, and verified."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from turnout_server.store import files
from turnout_server.store.blobs.directory import measure, walk
from turnout_server.store.layout import version_folder
from turnout_server.store.manifest import MANIFEST_NAME, Manifest, encode
from turnout_server.store.store import BlobStore
from turnout_server.store.verify import check_digests


class LocalFiles:
    """Verified files of the versions in a store.

    Those of a store in a directory are used where they are. Those of any other are fetched, and stay in a directory of
    this object's until it is closed.
    """

    def __init__(self, store: BlobStore) -> None:
        """Serve the files of *store*."""
        self._store = store
        self._fetched: Path | None = None

    def verified(self, model: str, version: int) -> tuple[Manifest, Path]:
        """Return a version's manifest, and the directory with its files, whose digests are those of the manifest.

        Raises:
            ModelNotFoundError, VersionNotFoundError: there is no such version.
            InvalidManifestError: its manifest cannot be read.
            DigestMismatchError: a file is missing, changed, not a plain file, or not in the manifest.
            StoreError: the store cannot be read.
        """
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
