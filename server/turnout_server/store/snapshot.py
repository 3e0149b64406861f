"""The store at one moment, taken cheaply again and again."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from turnout_server.store import files
from turnout_server.store.labels import read_labels
from turnout_server.store.layout import LABELS_NAME, Layout, check_name, version_number
from turnout_server.store.manifest import MANIFEST_NAME
from turnout_server.vocabulary.errors import InvalidNameError, StoreError

_SETTLED_S = 2.0
"""A directory touched more recently than this is looked at again: its clock may be too coarse for the next change."""

_DISTRUST_EVERY = 64
"""Each model is looked at afresh once in so many rounds, so that even what its times hide is noticed."""

_NO_LABELS: Mapping[str, int] = MappingProxyType({})


class ModelState(msgspec.Struct, frozen=True):
    """One model at one moment."""

    versions: tuple[int, ...]
    """The complete versions, ascending; never empty."""
    labels: Mapping[str, int]
    """Label -> version; empty where labels.json could not be read."""
    problems: tuple[str, ...] = ()
    """What is wrong with it, in sentences."""


class StoreSnapshot(msgspec.Struct, frozen=True):
    """The store at one moment. An unchanged model is the same `ModelState` object in the next snapshot."""

    models: Mapping[str, ModelState]
    problems: Mapping[str, tuple[str, ...]]
    """Directory name under models/ -> what is wrong with it; has directories, too, that are no model."""
    unreadable: frozenset[str]
    """Models whose versions or labels could not be read: what was known of them before is the best knowledge."""
    routes_text: str | None
    """The route table, None where there is none or it could not be read."""
    routes_digest: str | None
    """SHA-256 (hex) of the route table's bytes."""
    routes_problem: str | None
    """Why the route table could not be read."""


class Models(NamedTuple):
    """The part of a `StoreSnapshot` that is about models."""

    models: Mapping[str, ModelState]
    problems: Mapping[str, tuple[str, ...]]
    unreadable: frozenset[str]


class Watcher:
    """Looks at all models, each time only at what may have changed since the last."""

    def __init__(self, layout: Layout) -> None:
        """Watch the store at *layout*; nothing is read yet."""
        self._layout = layout
        self._known: dict[str, _Known] = {}
        self._round = 0

    def look(self) -> Models:
        """Return every model as it is now. Raise `StoreError` where they cannot be listed."""
        with files.plain_errors("list the models"):
            entries = _list(self._layout.models_dir)
        self._round += 1
        known: dict[str, _Known] = {}
        models: dict[str, ModelState] = {}
        problems: dict[str, tuple[str, ...]] = {}
        unreadable: set[str] = set()
        for position, entry in enumerate(entries):
            name = entry.name
            before = self._known.get(name)
            if before is None and (problem := _refusal(entry)) is not None:
                problems[os.fsencode(name).decode(errors="backslashreplace")] = (problem,)
                continue
            trusted = (position + self._round) % _DISTRUST_EVERY != 0
            now = known[name] = _look(self._layout, entry, before, trusted)
            if now.state.versions:
                models[name] = now.state
            if now.state.problems:
                problems[name] = now.state.problems
            if not now.readable:
                unreadable.add(name)
        self._known = known
        return Models(MappingProxyType(models), MappingProxyType(problems), frozenset(unreadable))


def _refusal(entry: os.DirEntry[str]) -> str | None:
    """Say why a directory in models/ is no model's, if it is not."""
    try:
        check_name(entry.name, "model")
    except InvalidNameError as error:
        return error.message
    return "is a symbolic link; a model has to be a directory here" if entry.is_symlink() else None


class _Known(NamedTuple):
    """What one look at a model's directory found, and the stamps that tell whether looking again could differ."""

    state: ModelState
    readable: bool
    stamps: tuple[int, ...]
    settled: bool


def _look(layout: Layout, entry: os.DirEntry[str], before: _Known | None, trusted: bool) -> _Known:
    """Look at one model, or return *before* where it is to be *trusted* and nothing can have changed since.

    A version appears, and labels.json is replaced, by a rename into the model's directory, which changes its time.
    Labels edited in place change the file's own. Stamps are taken before looking, so a change in between is seen
    the next time.
    """
    stamps: tuple[int, ...] = ()
    labels, problems, readable = _NO_LABELS, [], True
    try:
        stamps, newest = _stamps(entry)
        if trusted and before is not None and before.settled and before.stamps == stamps:
            return before
        # Labels first: a version is there before its label, so none seems to name what is not there.
        try:
            labels = MappingProxyType(read_labels(layout, entry.name))
        except StoreError as error:
            problems, readable = [error.message], False
        versions = list_versions(Path(entry.path))
        # A store that goes away in the middle of a look seems to have no versions, when really it cannot be read.
        os.lstat(entry.path)
    except OSError as error:
        problem = f"cannot read the versions: {error.strerror or error}"
        return _Known(ModelState((), _NO_LABELS, (problem,)), False, stamps, False)
    problems += [f"version {number} has no {MANIFEST_NAME} and is left out" for number in versions.incomplete]
    problems += _dangling(labels, versions.complete)
    state = ModelState(versions.complete, labels, tuple(problems))
    if before is not None and before.state == state:
        state = before.state
    settled = readable and not versions.incomplete and time.time() - newest > _SETTLED_S
    return _Known(state, readable, stamps, settled)


def _stamps(entry: os.DirEntry[str]) -> tuple[tuple[int, ...], float]:
    """Return what identifies the state of a model's directory and labels, and the newest time in it (s)."""
    own = entry.stat(follow_symlinks=False)
    stamps = (own.st_ino, own.st_mtime_ns)
    try:
        labels = os.stat(f"{entry.path}/{LABELS_NAME}")  # noqa: PTH116 - a thousand times a second
    except FileNotFoundError:
        return stamps, own.st_mtime
    return (*stamps, labels.st_ino, labels.st_mtime_ns, labels.st_size), max(own.st_mtime, labels.st_mtime)


def _dangling(labels: Mapping[str, int], versions: tuple[int, ...]) -> Iterator[str]:
    for label, version in labels.items():
        if version not in versions:
            yield f"label {label!r} names version {version}, which is not there"


def _list(path: Path) -> list[os.DirEntry[str]]:
    """Return the directories, and links, in *path* that are not hidden, sorted; none where *path* is missing."""
    try:
        with os.scandir(path) as entries:
            found = [e for e in entries if e.name[0] != "." and (e.is_dir(follow_symlinks=False) or e.is_symlink())]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda entry: entry.name)


class Versions(NamedTuple):
    """The versions in a model's directory, ascending."""

    complete: tuple[int, ...]
    incomplete: tuple[int, ...]
    """Directories (or links) with a version's name and no manifest."""


def list_versions(directory: Path) -> Versions:
    """Return the versions in a model's directory; none where it is missing, or is a link or a file."""
    complete: list[int] = []
    incomplete: list[int] = []
    for entry in _list(directory) if directory.is_dir() and not directory.is_symlink() else ():
        if (number := version_number(entry.name)) is not None:
            (complete if _has_manifest(entry) else incomplete).append(number)
    return Versions(tuple(sorted(complete)), tuple(sorted(incomplete)))


def _has_manifest(version: os.DirEntry[str]) -> bool:
    if version.is_symlink():
        return False
    try:
        return stat.S_ISREG(os.lstat(f"{version.path}/{MANIFEST_NAME}").st_mode)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # Perhaps; who reads it learns why not, and others learn that the version exists.
