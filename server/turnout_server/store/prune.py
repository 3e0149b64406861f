"""Removing versions: the manifest first, so that nobody takes the version up any more; then its files.

Who wants a version is looked at once more when its manifest is gone: who has named it meanwhile gets it back. A process
that dies in between leaves files without a manifest, of which the audit says that they are to go: the next one that
removes versions of the model removes them, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from turnout_server.store.blobs import Node
from turnout_server.store.layout import manifest_key, model_audit, version_folder
from turnout_server.store.snapshot import list_versions
from turnout_server.store.store import NOBODY, BlobStore, By
from turnout_server.vocabulary.errors import StoreError

FOREIGN = ("rollouts", "experiments")
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
        routed: the versions that route tables name, and where. What labels, rollouts and experiments name is looked up
            here.

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

    Raises:
        StoreError: it cannot be removed.
    """
    key = manifest_key(model, version)
    manifest = store.blobs.get(key)
    if manifest is None:
        return False
    announced = store.audit.announce(model_audit(model), "version", f"version {version} removed", by)
    store.blobs.delete(key)
    try:
        is_left = is_wanted()
    except BaseException:
        store.blobs.put_if_absent(key, manifest.content)
        raise
    if is_left:
        store.blobs.put_if_absent(key, manifest.content)
        return False
    store.blobs.delete_tree(version_folder(model, version))
    store.audit.confirm(announced)
    return True


def remove_leftovers(store: BlobStore, model: str) -> tuple[int, ...]:
    """Remove the files of versions whose removal was begun and not ended; return which."""
    versions = list_versions(store.blobs, model)
    begun = {
        int(match[1])
        for noted in store.audit.entries(model_audit(model))
        if not noted.is_done and (match := _REMOVED.fullmatch(noted.entry.action))
    }
    left = tuple(version for version in (versions.incomplete if versions else ()) if version in begun)
    for version in left:
        store.blobs.delete_tree(version_folder(model, version))
    return left


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
