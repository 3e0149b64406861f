"""Whether a version's files are still the ones that were published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from turnout_server.store.blobs import Node, Size
from turnout_server.store.manifest import MANIFEST_NAME, Manifest
from turnout_server.vocabulary.errors import DigestMismatchError


def check_digests(found: Mapping[str, Node], measure: Callable[[str, int], Size], manifest: Manifest) -> None:
    """Check that a version has the manifest's files, byte for byte, and but for the manifest nothing else.

    *found* is what is there, by path, and *measure* reads the file of a path, if it has no more bytes than that.

    Raises:
        DigestMismatchError: names a file that is missing, changed, a link, a device, or not in the manifest.
    """
    check_files_listed(found, manifest)
    for entry in manifest.files:
        size, sha256 = measure(entry.path, entry.size)
        if size != entry.size:
            raise _wrong(manifest, entry.path, f"has {size} bytes, and the manifest says {entry.size}")
        if sha256 != entry.sha256:
            raise _wrong(manifest, entry.path, f"has SHA-256 {sha256}, and the manifest says {entry.sha256}")


def check_files_listed(found: Mapping[str, Node], manifest: Manifest) -> None:
    """Check that a version has the manifest's files as plain files and, but for the manifest, nothing else.

    Raises:
        DigestMismatchError: names a path that is missing, a link, a device, or not in the manifest.
    """
    listed = {entry.path for entry in manifest.files} | {MANIFEST_NAME}
    parents = {str(parent) for path in listed for parent in PurePosixPath(path).parents}
    for path in sorted(listed - found.keys()):
        raise _wrong(manifest, path, "is missing")
    for path, node in sorted(found.items(), key=lambda item: item[0]):
        if node is Node.LINK:
            raise _wrong(manifest, path, "is a symbolic link")
        if node is Node.FOLDER and path in parents:
            continue
        if path not in listed:
            raise _wrong(manifest, path, "is not in the manifest")
        if node is not Node.FILE:
            raise _wrong(manifest, path, "is not a plain file")


def _wrong(manifest: Manifest, path: str, problem: str) -> DigestMismatchError:
    return DigestMismatchError(manifest.model, manifest.version, path, problem)
