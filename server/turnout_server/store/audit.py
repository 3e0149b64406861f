"""The audit: who changed what in the store, when, from which digest to which. It only ever grows.

```
audit/content/<sha256>                  what a route table, a labels.json or a removed manifest was, by its digest
audit/routes/<number>.json              one change of the route table, in order
audit/models/<model>/<number>.json      one change of a model's labels, or of its versions
audit/rollouts/<route>/<number>.json    one change of what has been decided about a route
audit/.../<number>.done                 there once the change has come about
audit/.../<number>.withdrawn            there once it is sure that it will not
```

The old content and the new one are kept first, then the entry is written, then the change is made, then the entry is
marked as done. So no change is without its author, wherever its process dies: an entry without a mark has come about
if the present content, or the next entry, says so. What changes without an entry, as when somebody edits routes.yaml,
breaks the chain of digests, and shows.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NamedTuple

import msgspec

from turnout_server.store.blobs import Blobs, Reading
from turnout_server.store.layout import CONTENT, ROUTES_AUDIT, model_audit
from turnout_server.vocabulary.errors import StoreError

__all__ = ["ROUTES_AUDIT", "Audit", "By", "Change", "Entry", "Noted", "model_audit", "told"]

LARGEST_ENTRY = 64 * 1024
"""Bytes of an entry; what is larger is nobody's entry."""
MOST_ENTRIES = 1000
"""So many of the newest entries are read at most."""
DONE = ".done"
"""How the mark of an entry is called whose change has come about."""
WITHDRAWN = ".withdrawn"
"""How that of an entry is called whose change never will."""
LONGEST = timedelta(days=1)
"""So old is no announcement of a process that may still act on it: a change takes some milliseconds."""
_ATTEMPTS = 1000
_NUMBER = re.compile(r"([0-9]{12})\.(json|done|withdrawn)")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST = 300
"""Characters of a text in an entry."""

What = Literal["routes", "labels", "suspended", "version", "rollout"]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class By(NamedTuple):
    """Who changes something, and by what."""

    who: str = ""
    """A user and host, a principal, or an address; empty where that is not known."""
    how: str = ""
    """The command, or the RPC."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One change, as it is written."""

    what: What
    action: str
    """In words: `champion 1 -> 2`."""
    at: str
    """RFC 3339, UTC."""
    who: str = ""
    how: str = ""
    before: Digest | None = None
    """SHA-256 (hex) of the content before; None where there was none, or where it is not about one."""
    after: Digest | None = None
    """Of the content after."""


class Noted(NamedTuple):
    """An entry as it is found."""

    number: int
    entry: Entry
    is_done: bool
    """Whether it is marked as having come about."""


class Change(NamedTuple):
    """One change of a content, as the entries and the present content tell it."""

    before: str | None
    """The digest; None where there was nothing."""
    after: str | None
    entry: Entry | None
    """Who did it; None where it was done outside Turnout."""


class Audit:
    """Reads and writes the audit of one store. Any thread."""

    def __init__(self, blobs: Blobs, reading: Reading) -> None:
        """Write to *blobs*; small things are read through *reading*."""
        self._blobs = blobs
        self._reading = reading

    # ------------------------------------------------------------ writing

    def announce(
        self, folder: str, what: What, action: str, by: By, before: bytes | None = None, after: bytes | None = None
    ) -> str:
        """Keep both contents, and write who is about to change the one into the other; return what `confirm` takes.

        Raises:
            StoreError: it cannot be written; then nothing may be changed.
        """
        for content in (before, after):
            if content is not None:
                self._blobs.put_if_absent(f"{CONTENT}/{digest(content)}", content)
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        entry = Entry(
            what=what,
            action=_short(action),
            at=at,
            who=_short(by.who),
            how=_short(by.how),
            before=None if before is None else digest(before),
            after=None if after is None else digest(after),
        )
        raw = msgspec.json.format(msgspec.json.encode(entry), indent=2) + b"\n"
        number = max(self._numbers(folder, withdrawn=True), default=0)
        for _ in range(_ATTEMPTS):
            number += 1
            key = f"{folder}/{number:012}"
            if self._blobs.put_if_absent(f"{key}.json", raw):
                return key
        raise StoreError(f"cannot write to {folder}: others took {_ATTEMPTS} numbers meanwhile")

    def confirm(self, key: str) -> None:
        """Mark what was announced as *key*: it has come about. That it cannot be marked changes nothing of that."""
        with contextlib.suppress(StoreError):
            self._blobs.put_if_absent(f"{key}{DONE}", b"")

    def withdraw(self, key: str) -> None:
        """Say of what was announced as *key* that it will not come about. That this cannot be said changes nothing."""
        with contextlib.suppress(StoreError):
            self._blobs.put_if_absent(f"{key}{WITHDRAWN}", b"")

    def note(self, folder: str, what: What, action: str, by: By) -> None:
        """Write what has come about and is seen without this; that it cannot be written changes nothing of that."""
        with contextlib.suppress(StoreError):
            self.confirm(self.announce(folder, what, action, by))

    # ------------------------------------------------------------ reading

    def entries(self, folder: str, most: int = MOST_ENTRIES) -> tuple[Noted, ...]:
        """Return the newest *most* entries of a folder, oldest first, without what was withdrawn or nobody can read.

        Raises:
            StoreError: the folder cannot be read.
        """
        numbers = self._numbers(folder)
        found = []
        for number in sorted(numbers)[-most:]:
            entry = self._entry(f"{folder}/{number:012}.json")
            if entry is not None:
                found.append(Noted(number, entry, numbers[number]))
        return tuple(found)

    def under_way(self, folder: str, what: What, now: datetime) -> tuple[bytes, ...]:
        """Return the contents that somebody has announced, and may be writing *now*.

        This is read without patience, which may bring what was read a while ago.

        Raises:
            StoreError: the folder or a content cannot be read.
        """
        fresh = Audit(self._blobs, self._blobs)
        found = []
        for number, is_done in sorted(fresh._numbers(folder).items()):
            entry = None if is_done else fresh._entry(f"{folder}/{number:012}.json")
            if entry is None or entry.what != what or entry.after is None or _is_older(entry.at, now - LONGEST):
                continue
            content = fresh.content(entry.after)
            if content is None:
                raise StoreError(f"{folder}/{number:012}.json announces what cannot be read")
            found.append(content)
        return tuple(found)

    def content(self, wanted: str) -> bytes | None:
        """Return the content with this digest; None where it was never kept, or is not what it was.

        Raises:
            StoreError: it cannot be read.
        """
        blob = self._reading.get(f"{CONTENT}/{wanted}") if _DIGEST.fullmatch(wanted) else None
        return blob.content if blob is not None and digest(blob.content) == wanted else None

    def _numbers(self, folder: str, withdrawn: bool = False) -> dict[int, bool]:
        """Return each entry's number, and whether it is marked as done; on request with those that were withdrawn."""
        found: dict[str, set[int]] = {"json": set(), "done": set(), "withdrawn": set()}
        for entry in self._reading.list(folder) or ():
            if match := _NUMBER.fullmatch(entry.name):
                found[match[2]].add(int(match[1]))
        numbers = found["json"] - (set() if withdrawn else found["withdrawn"])
        return {number: number in found["done"] for number in numbers}

    def _entry(self, key: str) -> Entry | None:
        with contextlib.suppress(StoreError, msgspec.MsgspecError, UnicodeDecodeError):
            blob = self._reading.get(key)
            if blob is not None and len(blob.content) <= LARGEST_ENTRY:
                return msgspec.json.decode(blob.content, type=Entry)
        return None


def _is_older(at: str, than: datetime) -> bool:
    """Say whether this is a time, and before *than*; what is no time may be any."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return False
    return moment.tzinfo is not None and moment < than


def told(noted: Sequence[Noted], present: str | None) -> tuple[Change, ...]:
    """Return the changes that led to the content of digest *present*, newest first.

    Args:
        noted: entries about one content, oldest first.
        present: the present content's digest; None where there is none.
    """
    return tuple(_told(noted, present))


def _told(noted: Sequence[Noted], present: str | None) -> Iterator[Change]:
    for index in reversed(range(len(noted))):
        entry, is_done = noted[index].entry, noted[index].is_done
        if not is_done and (entry.after != present or not _follows(noted, index)):
            continue  # announced, but somebody else was faster, or its process died before
        if entry.after != present:
            yield Change(entry.after, present, None)
        yield Change(entry.before, entry.after, entry)
        present = entry.before


def _follows(noted: Sequence[Noted], index: int) -> bool:
    """Say whether an entry without a mark fits what came before it."""
    before = noted[index].entry.before
    for _, earlier, is_done in reversed(noted[:index]):
        if is_done or earlier.after == before:
            return earlier.after == before
    return True


def digest(content: bytes) -> str:
    """Return the digest under which a content is kept: its SHA-256 (hex)."""
    return hashlib.sha256(content).hexdigest()


def _short(text: str) -> str:
    """Return *text* as one line that is not too long, that UTF-8 can hold, and that cannot steer a terminal."""
    return "".join(char if char.isprintable() else " " for char in text[:_LONGEST])
