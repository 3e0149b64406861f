"""One change of a blob that names versions, labels or a route table: announced, written by its tag, confirmed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from turnout_server.store import removal
from turnout_server.store.audit import Audit, By, What
from turnout_server.store.blobs import Blobs, Reading
from turnout_server.store.layout import manifest_key
from turnout_server.vocabulary.errors import StaleWriteError, TurnoutError, VersionNotFoundError
from turnout_server.vocabulary.versions import VersionKey

ATTEMPTS = 1000
"""How often a change is tried that others overtake; each time one of them has got on."""


class Account(NamedTuple):
    """How a change is told in the audit."""

    folder: str
    what: What
    action: str
    by: By


class Changes:
    """Changes blobs of one store. Any thread."""

    def __init__(self, blobs: Blobs, reading: Reading, audit: Audit) -> None:
        """Write to *blobs*; what is there is read through *reading*."""
        self._blobs = blobs
        self._reading = reading
        self._audit = audit

    def make(
        self,
        key: str,
        changed: Callable[[bytes | None], bytes],
        account: Account,
        named: Collection[VersionKey] = (),
    ) -> None:
        """Replace the blob *key* by what *changed* makes of it, again where somebody else was faster.

        Nothing is written where that is what is there. *named* are the versions that it will name: nobody removes them
        from the announcement on.

        Raises:
            VersionNotFoundError: a version is gone; nothing is written.
            StaleWriteError: others were faster each time.
            TurnoutError: whatever *changed* raises.
        """
        for _ in range(ATTEMPTS):
            blob = self._reading.get(key)
            before = None if blob is None else blob.content
            content = changed(before)
            if content == before:
                return
            announced = self._audit.announce(account.folder, account.what, account.action, account.by, before, content)
            try:
                self._keep(named)
            except TurnoutError:
                self._audit.withdraw(announced)
                raise
            if (
                self._blobs.put_if_absent(key, content)
                if blob is None
                else self._blobs.put_if_match(key, content, blob.tag)
            ):
                self._audit.confirm(announced)
                return
            self._audit.withdraw(announced)
        raise StaleWriteError(f"{key} was changed by somebody else {ATTEMPTS} times meanwhile; try again later")

    def _keep(self, named: Collection[VersionKey]) -> None:
        """Stop whoever is removing a version that was announced to be named; see `removal`."""
        for model, version in named:
            # In this order: a removal may end in between, and then the manifest is gone. And without patience, which
            # may bring what was read a while ago.
            if not removal.keep(self._blobs, model, version) or self._blobs.get(manifest_key(model, version)) is None:
                raise VersionNotFoundError(model, version)
