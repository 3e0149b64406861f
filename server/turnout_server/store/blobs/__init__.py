"""Blobs: bytes under keys, with conditional writes. All that the store asks of the place where it is kept.

A key is a relative POSIX path (`models/price/labels.json`); a folder is what keys have in common before a slash. A
backend is one module with a class that keeps these promises:

- **Atomic.** A reader sees a blob's old content or its new one, never a mixture and never half of one.
- **Conditional.** Of any number of writers at once that name the same condition, one wins; the others are told.
- **Durable.** When a write has returned, no crash takes it back. A crash before that leaves the old state or the new.
- **Fresh.** A reader that starts after a write has returned sees it.
- Readers never lock and never write.

Whatever a backend cannot do it raises as `StoreError`; a write that it is not allowed to do, as `StoreReadOnlyError`.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol


class Blob(NamedTuple):
    """What is under a key."""

    content: bytes
    tag: str
    """What `put_if_match` compares, as an ETag: another content has another tag."""


class Entry(NamedTuple):
    """What is directly in a folder."""

    name: str
    is_folder: bool
    is_marked: bool
    """Whether it is a folder that has the marker directly in it."""


class Stamp(NamedTuple):
    """What tells whether looking into a folder again could show anything new."""

    name: str
    mark: Hashable
    """Equal to that of an earlier *settled* stamp: nothing was added, removed or replaced directly in the folder."""
    is_settled: bool
    """Whether the mark is sure to change with the next change; a clock may be too coarse for that at first."""
    problem: str = ""
    """Why this cannot be a folder of the store, where it cannot."""


class Node(enum.Enum):
    """What kind of thing a path is; an object store knows files only."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


class Size(NamedTuple):
    """How much there is of a blob, and of what."""

    bytes: int
    sha256: str
    """Hex."""


MOST_BLOB_BYTES = 16 << 20
"""How large a blob may be that is read whole: labels, a manifest, a route table."""


class Reading(Protocol):
    """The reading of small blobs; see `Blobs`."""

    def get(self, key: str) -> Blob | None: ...  # noqa: D102
    def list(self, folder: str, marker: str = "") -> tuple[Entry, ...] | None: ...  # noqa: D102


class Blobs(Protocol):
    """A place for blobs. Every method may raise `StoreError`, those that write `StoreReadOnlyError`."""

    def check(self) -> None:
        """Raise `StoreError` where the place is not there or cannot be read."""
        ...

    def get(self, key: str) -> Blob | None:
        """Return the blob under *key* whole, None where there is none.

        For small blobs: one of more than `MOST_BLOB_BYTES` is a `StoreError`, before it is read.
        """
        ...

    def list(self, folder: str, marker: str = "") -> tuple[Entry, ...] | None:
        """Return what is directly in *folder*, in no order, without what is hidden; None where there is no such folder.

        A *marker* is the name of a blob that a folder may have: `Entry.is_marked` says which ones do.
        """
        ...

    def stamps(self, folder: str, edited: str = "") -> Iterator[Stamp]:
        """Yield a stamp of every folder directly in *folder*, sorted by name, each taken when it is asked for.

        This is the polling path: a thousand folders should cost some milliseconds. *edited* is the name of the one blob
        that people may change in place, so that a mark has to cover its content too. A mark need not cover what is
        deeper. Raise `StoreError` where *folder* cannot be listed.
        """
        ...

    def is_quiet(self, folder: str, edited: str = "") -> bool:
        """Say whether surely nothing that a stamp covers has changed since these stamps were last taken.

        False is always right: it only costs taking them. Whoever asks will ask again; who never does costs nothing.
        """
        ...

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """Create the blob *key*; return False, and write nothing, where there is one."""
        ...

    def put_if_match(self, key: str, content: bytes, tag: str) -> bool:
        """Replace the blob *key*; return False, and write nothing, where its tag is another or it is gone."""
        ...

    def delete(self, key: str) -> bool:
        """Remove the blob *key*; return whether it was there."""
        ...

    def delete_tree(self, folder: str) -> bool:
        """Remove *folder* with all that is in it; return whether there was one.

        After a crash some of it may be left.
        """
        ...

    def workspace(self) -> AbstractContextManager[Path]:
        """Lend an empty local directory from which `put_tree_if_absent` takes its files; it goes afterwards.

        What a crashed process left in one goes when somebody else asks for another.
        """
        ...

    def put_tree_if_absent(self, folder: str, tree: Path, last: str) -> bool:
        """Create *folder* out of the files in *tree*, a directory in a workspace; return False where there is one.

        The blob *last* appears last: whoever sees it can read all the others. After a crash either all are there, or
        *last* is not; then the rest may be there, under a folder that nobody uses again. *tree* may be gone afterwards.
        """
        ...

    def walk(self, folder: str) -> Mapping[str, Node]:
        """Return all that is in *folder* at any depth by its path in there, following no link."""
        ...

    def measure(self, key: str, most: int) -> Size:
        """Read the blob *key*, and return its size and digest; of one with more than *most* bytes the size alone."""
        ...

    def download(self, key: str, target: Path) -> None:
        """Write the blob *key*, however large, to the new local file *target*."""
        ...

    def local(self, folder: str) -> Path | None:
        """Return the local directory that is *folder* itself, None where the blobs are not on this machine."""
        ...
