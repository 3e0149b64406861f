"""Whether a version's files are still the ones that were published."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from turnout_server.store.manifest import MANIFEST_NAME, Manifest
from turnout_server.vocabulary.errors import DigestMismatchError


def check_digests(directory: Path, manifest: Manifest) -> None:
    """Check that *directory* has the manifest's files, byte for byte, and but for the manifest nothing else.

    Raises:
        DigestMismatchError: names a file that is missing, changed, a link, a device, or not in the manifest.
    """
    check_files_listed(directory, manifest)
    for entry in manifest.files:
        size, sha256 = _measure(directory / entry.path)
        if size != entry.size:
            raise _wrong(manifest, entry.path, f"has {size} bytes, and the manifest says {entry.size}")
        if sha256 != entry.sha256:
            raise _wrong(manifest, entry.path, f"has SHA-256 {sha256}, and the manifest says {entry.sha256}")


def check_files_listed(directory: Path, manifest: Manifest) -> None:
    """Check that *directory* has the manifest's files as plain files and, but for the manifest, nothing else.

    Raises:
        DigestMismatchError: names a path that is missing, a link, a device, or not in the manifest.
    """
    listed = {entry.path for entry in manifest.files} | {MANIFEST_NAME}
    parents = {str(parent) for path in listed for parent in Path(path).parents}
    found = dict(_walk(directory, ""))
    for path in sorted(listed - found.keys()):
        raise _wrong(manifest, path, "is missing")
    for path, mode in sorted(found.items()):
        if stat.S_ISLNK(mode):
            raise _wrong(manifest, path, "is a symbolic link")
        if stat.S_ISDIR(mode) and path in parents:
            continue
        if path not in listed:
            raise _wrong(manifest, path, "is not in the manifest")
        if not stat.S_ISREG(mode):
            raise _wrong(manifest, path, "is not a plain file")


def _walk(directory: Path, prefix: str) -> Iterator[tuple[str, int]]:
    """Yield (path relative to the top, mode) of all that is in a directory, following no link."""
    with os.scandir(directory) as entries:
        for entry in entries:
            mode = entry.stat(follow_symlinks=False).st_mode
            yield prefix + entry.name, mode
            if stat.S_ISDIR(mode):
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")


def _measure(path: Path) -> tuple[int, str]:
    """Return size (bytes) and SHA-256 (hex) of what is in a file now."""
    with path.open("rb") as reader:
        sha256 = hashlib.file_digest(reader, "sha256").hexdigest()
        return reader.tell(), sha256


def _wrong(manifest: Manifest, path: str, problem: str) -> DigestMismatchError:
    return DigestMismatchError(manifest.model, manifest.version, path, problem)
