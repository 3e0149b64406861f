"""What has been decided about routes since their table was written, as bytes: `rollouts/<route>.json`.

What is in them is routing's to read. Whoever writes looks first, and writes only where nobody else has meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from turnout_server.store.audit import By
from turnout_server.store.blobs import Reading
from turnout_server.store.change import Account, Changes
from turnout_server.store.layout import ROLLOUTS, rollout_audit, rollout_key
from turnout_server.vocabulary.errors import StoreError
from turnout_server.vocabulary.names import NAME_PATTERN

_SUFFIX = ".json"


class Stored(NamedTuple):
    """What there is of one route."""

    content: bytes
    problem: str = ""
    """Why the content could not be read; then it is empty."""


class Rollouts:
    """The rollouts of one store. Any thread."""

    def __init__(self, reading: Reading, changes: Changes) -> None:
        """Read through *reading*, and write by *changes*."""
        self._reading = reading
        self._changes = changes

    def read(self) -> Mapping[str, Stored]:
        """Return all of them by route; files of other names are nobody's.

        Raises:
            StoreError: it cannot be said which there are.
        """
        entries = self._reading.list(ROLLOUTS) or ()
        names = sorted(entry.name.removesuffix(_SUFFIX) for entry in entries if entry.name.endswith(_SUFFIX))
        return {name: self._read(name) for name in names if re.fullmatch(NAME_PATTERN, name)}

    def get(self, route: str) -> bytes | None:
        """Return what there is of a route; None for nothing. Raise `StoreError` where it cannot be read."""
        blob = self._reading.get(rollout_key(route))
        return None if blob is None else blob.content

    def change(self, route: str, changed: Callable[[bytes | None], bytes], action: str, by: By) -> None:
        """Replace what there is of a route by what *changed* makes of it, again where somebody else was faster.

        Raises:
            StaleWriteError: somebody else was faster too often.
            StoreError, StoreReadOnlyError: it cannot be read or written. And whatever *changed* raises.
        """
        self._changes.make(rollout_key(route), changed, Account(rollout_audit(route), "rollout", action, by))

    def _read(self, route: str) -> Stored:
        try:
            content = self.get(route)
        except StoreError as error:
            return Stored(b"", error.message)
        return Stored(b"", "it went away, or leads nowhere") if content is None else Stored(content)
