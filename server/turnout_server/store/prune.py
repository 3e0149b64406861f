"""Removing versions: the manifest first, so that nobody takes the version up any more; then its files.

Who wants a version is looked at once more when its manifest is gone: who has named it meanwhile gets it back. A process
that dies in between leaves files without a manifest, of which the audit says that they are to go: the next one that
removes versions of the model removes them, too, or puts the manifest back, which the audit has kept, where somebody has
named the version. A manifest comes back to all of its files or not at all.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Set
from typing import NamedTuple

from turnout_server.store.blobs import Node
from turnout_server.store.layout import manifest_key, model_audit, version_folder
from turnout_server.store.manifest import decode
from turnout_server.store.snapshot import list_versions
from turnout_server.store.store import NOBODY, BlobStore, By
from turnout_server.vocabulary.errors import InvalidManifestError, StoreError

FOREIGN = ("experiments",)
"""Folders whose files name versions, in ways that this release need not know."""
_REMOVED = re.compile(r"version ([1-9][0-9]{0,17}) removed")


class Plan(NamedTuple):
    """What would go, and why the rest would not."""

    remove: tuple[int, ...]
    """Ascending."""
    keep: Mapping[int, tuple[str, ...]]
    """Why each other version stays, in words."""


def plan(store: BlobStore, model: str, newest: int, routed: Mapping[int, tuple[str, ...]]) -> Plan:
    """Say which versions of *model* nobody needs.

    Args:
        store: has them.
        model: whose versions.
        newest: how many of the newest stay.
        routed: the versions that route tables and rollouts name, and where. What labels and experiments name is looked
            up here.

    Raises:
        ModelNotFoundError: there is no such model.
        StoreError: what names versions cannot be read, so that nothing may go.
    """
    versions = store.versions(model)
    found = reasons(store, model, versions, routed)
    for version in versions[-newest:]:
        found[version] = (f"one of the newest {newest}", *found[version])
    return Plan(
        tuple(version for version, why in found.items() if not why),
        {version: why for version, why in found.items() if why},
    )


def reasons(
    store: BlobStore, model: str, versions: tuple[int, ...], routed: Mapping[int, tuple[str, ...]]
) -> dict[int, tuple[str, ...]]:
    """Return what names each of *versions*, in words.

    Raises:
        ModelNotFoundError, StoreError: as `plan`.
    """
    found: dict[int, tuple[str, ...]] = dict.fromkeys(versions, ())
    places = [(version, place) for version, of_one in routed.items() for place in of_one]
    for version, where in (*_named(store, model, versions), *places):
        if version in found:
            found[version] = (*found[version], where)
    return found


def remove(
    store: BlobStore, model: str, version: int, by: By = NOBODY, is_wanted: Callable[[], bool] = lambda: False
) -> bool:
    """Remove one version; return False, and leave it, where *is_wanted* says so once it cannot be named any more.

    Of several who remove it one does, and the others leave it to that one.

    Raises:
        StoreError: it cannot be removed; or it is wanted, and somebody else has removed its files.
    """
    key, folder = manifest_key(model, version), version_folder(model, version)
    manifest = store.blobs.get(key)
    if manifest is None:
        return False
    paths = store.blobs.walk(folder).keys()
    action = f"version {version} removed"
    announced = store.audit.announce(model_audit(model), "version", action, by, manifest.content)
    if not store.blobs.delete(key):
        return False  # who did delete it may put it back, or has removed the files: a second one would do half of that
    try:
        is_left = is_wanted()
    except BaseException:
        _put_back(store, model, version, manifest.content, paths)
        raise
    if is_left:
        if not _put_back(store, model, version, manifest.content, paths):
            raise StoreError(f"{model} version {version} was named while somebody else removed its files; it is gone")
        return False
    store.blobs.delete_tree(folder)
    store.audit.confirm(announced)
    return True


def remove_leftovers(
    store: BlobStore, model: str, is_wanted: Callable[[int], bool] = lambda _: False
) -> tuple[int, ...]:
    """Remove the files of versions whose removal was begun and not ended; return which.

    A version that *is_wanted* comes back, where all of it is there still.
    """
    versions = list_versions(store.blobs, model)
    begun = {
        int(match[1]): noted.entry.before
        for noted in store.audit.entries(model_audit(model))
        if not noted.is_done and (match := _REMOVED.fullmatch(noted.entry.action))
    }
    left = tuple(version for version in (versions.incomplete if versions else ()) if version in begun)
    return tuple(version for version in left if not _is_kept(store, model, version, begun[version], is_wanted))


def _is_kept(store: BlobStore, model: str, version: int, digest: str | None, is_wanted: Callable[[int], bool]) -> bool:
    """Put the manifest of this *digest* back where the version is wanted and whole; else remove its files."""
    if is_wanted(version):
        content = store.audit.content(digest) if digest is not None else None
        if content is None:
            return True  # of an earlier release: whether all is there nobody knows
        with contextlib.suppress(InvalidManifestError):
            paths = {entry.path for entry in decode(content, manifest_key(model, version)).files}
            if _put_back(store, model, version, content, paths):
                return True
    store.blobs.delete_tree(version_folder(model, version))
    return False


def _put_back(store: BlobStore, model: str, version: int, content: bytes, paths: Set[str]) -> bool:
    """Put a manifest back; return False, and take it away again, where not all of *paths* are there any more.

    It is looked at afterwards, since another process may have taken the files for leftovers at any time before.
    """
    key, folder = manifest_key(model, version), version_folder(model, version)
    store.blobs.put_if_absent(key, content)
    if paths <= store.blobs.walk(folder).keys():
        return True
    store.blobs.delete(key)
    store.blobs.delete_tree(folder)
    return False


def _named(store: BlobStore, model: str, versions: tuple[int, ...]) -> Iterator[tuple[int, str]]:
    """Yield each version that something besides route tables names, and what."""
    for label, version in sorted(store.labels(model).items()):
        if version in versions:
            yield version, f"label {label}"
    for folder in FOREIGN:
        for path, node in sorted(store.blobs.walk(folder).items() if store.blobs.list(folder) else ()):
            if node is Node.FOLDER:
                continue
            blob = store.blobs.get(f"{folder}/{path}") if node is Node.FILE else None
            if blob is None:
                raise StoreError(f"{folder}/{path} cannot be read, so that nobody knows which versions it names")
            # Whatever its format is: any number in a file that names the model may be a version of it.
            text = blob.content.decode(errors="replace")
            if re.search(rf"(?<![a-z0-9._-]){re.escape(model)}(?![a-z0-9._-])", text):
                numbers = {int(number) for number in re.findall(r"(?<![0-9])[0-9]{1,18}(?![0-9])", text)}
                for version in sorted(numbers.intersection(versions)):
                    yield version, f"{folder}/{path}"
