"""Changing a blob that others may change at the same time: nothing is lost, and the audit says who it was."""

from __future__ import annotations

from collections.abc import Callable, Collection

from turnout_server.store import removal
from turnout_server.store.audit import Audit, By, What
from turnout_server.store.blobs import Blobs, Reading
from turnout_server.store.layout import manifest_key
from turnout_server.vocabulary.errors import StaleWriteError, TurnoutError, VersionNotFoundError
from turnout_server.vocabulary.versions import VersionKey

ATTEMPTS = 1000
"""How often a change is tried that others overtake; each time one of them has got on."""


def change(
    blobs: Blobs,
    reading: Reading,
    audit: Audit,
    key: str,
    changed: Callable[[bytes | None], bytes],
    folder: str,
    what: What,
    action: str,
    by: By,
    named: Collection[VersionKey] = (),
) -> None:
    """Replace a blob by what *changed* makes of it, again where somebody else was faster.

    Nothing is written where that is what is there.

    Args:
        blobs: where it is written.
        reading: where it is read.
        audit: told who does it.
        key: the blob's.
        changed: given the content, None for none, returns what is to be there; what it raises is raised.
        folder: of the audit.
        what: is changed, for the audit.
        action: likewise, in words.
        by: whom.
        named: the versions that the new content names: nobody removes them from the announcement on.

    Raises:
        VersionNotFoundError: one of those is gone; nothing is written.
        StaleWriteError: somebody else was faster each of `ATTEMPTS` times.
        StoreError: it cannot be read or written.
    """
    for _ in range(ATTEMPTS):
        blob = reading.get(key)
        before = None if blob is None else blob.content
        content = changed(before)
        if content == before:
            return
        announced = audit.announce(folder, what, action, by, before, content)
        try:
            _keep(blobs, named)
        except TurnoutError:
            audit.withdraw(announced)
            raise
        if blobs.put_if_absent(key, content) if blob is None else blobs.put_if_match(key, content, blob.tag):
            audit.confirm(announced)
            return
        audit.withdraw(announced)
    raise StaleWriteError(f"{key} was changed by somebody else {ATTEMPTS} times meanwhile; try again later")


def _keep(blobs: Blobs, named: Collection[VersionKey]) -> None:
    """Stop whoever is removing a version that was announced to be named; see `removal`."""
    for model, version in named:
        # In this order: a removal may end in between, and then the manifest is gone. And without patience, which may
        # bring what was read a while ago.
        if not removal.keep(blobs, model, version) or blobs.get(manifest_key(model, version)) is None:
            raise VersionNotFoundError(model, version)
