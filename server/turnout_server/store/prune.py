"""Removing versions: said first, then decided, then done.

A version that is to go is marked as such. Then whoever wants it is looked for once more, also among those who have only
announced that they will name it. Nothing of it is touched before it is decided that it goes. Nobody can take that back,
and who names a version can forestall it: `removal` has the rules. A process that dies in between leaves the mark, and
the next one that removes versions of the model decides, or ends what was decided.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from turnout_server.store import removal
from turnout_server.store.blobs import Node
from turnout_server.store.labels import decode_labels
from turnout_server.store.layout import labels_key, manifest_key, model_audit, version_folder
from turnout_server.store.store import NOBODY, BlobStore, By
from turnout_server.vocabulary.errors import StoreError

FOREIGN = ("experiments",)
"""Folders whose files name versions, in ways that this release need not know."""


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
    """Remove one version; return False, and leave it, where *is_wanted* says so or somebody names it meanwhile.

    Of several who remove it one does, and the others leave it to that one.

    Raises:
        StoreError: it cannot be removed.
    """
    key = manifest_key(model, version)
    manifest = store.blobs.get(key)
    if manifest is None:
        return False
    action = f"version {version} removed"
    announced = store.audit.announce(model_audit(model), "version", action, by, manifest.content)
    tag = removal.begin(store.blobs, model, version, announced)
    if tag is not None and store.blobs.get(key) is None:
        removal.end(store.blobs, model, version)  # somebody else was through with it before this one began
    elif tag is not None and _is_decided(store, model, version, tag, announced, is_wanted):
        _clear(store, model, version)
        store.audit.confirm(announced)
        return True
    store.audit.withdraw(announced)
    return False


def remove_leftovers(
    store: BlobStore, model: str, is_wanted: Callable[[int], bool] = lambda _: False
) -> tuple[int, ...]:
    """End the removals that were begun and not ended; return which versions went.

    One of which nothing was decided stays where it *is_wanted*.
    """
    return tuple(
        version
        for version, announced in sorted(removal.under_way(store.blobs, model).items())
        if announced and _is_ended(store, model, version, announced, partial(is_wanted, version))
    )


def _is_ended(store: BlobStore, model: str, version: int, announced: str, is_wanted: Callable[[], bool]) -> bool:
    tag = removal.begin(store.blobs, model, version, announced)
    if tag is not None and not _is_decided(store, model, version, tag, announced, is_wanted):
        return False
    _clear(store, model, version)
    store.audit.confirm(announced)
    return True


def _is_decided(
    store: BlobStore, model: str, version: int, tag: str, announced: str, is_wanted: Callable[[], bool]
) -> bool:
    """Say whether the version goes, which nobody can take back then."""
    try:
        is_left = is_wanted()
    except BaseException:
        removal.keep(store.blobs, model, version)
        raise
    if not is_left:
        return removal.settle(store.blobs, model, version, tag, announced)
    removal.keep(store.blobs, model, version)
    return False


def _clear(store: BlobStore, model: str, version: int) -> None:
    """Remove all that there is of a version, its manifest first; several may do so at once."""
    store.blobs.delete(manifest_key(model, version))
    store.blobs.delete_tree(version_folder(model, version))
    removal.end(store.blobs, model, version)


def _named(store: BlobStore, model: str, versions: tuple[int, ...]) -> Iterator[tuple[int, str]]:
    """Yield each version that something besides route tables names, and what.

    What is announced is read first: who has written it meanwhile is found among the labels.
    """
    for content in store.audit.under_way(model_audit(model), "labels", datetime.now(UTC)):
        for label, version in sorted(decode_labels(content, model).items()):
            if version in versions:
                yield version, f"label {label} that is being set"
    present = store.blobs.get(labels_key(model))
    for label, version in sorted(decode_labels(None if present is None else present.content, model).items()):
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
