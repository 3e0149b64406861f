"""The store at one moment, taken cheaply again and again."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from turnout_server.store.blobs import Blobs, Reading, Stamp
from turnout_server.store.labels import decode_labels
from turnout_server.store.layout import (
    LABELS_NAME,
    MODELS,
    check_name,
    labels_key,
    model_folder,
    suspended_key,
    version_number,
)
from turnout_server.store.manifest import MANIFEST_NAME
from turnout_server.store.patience import Patience
from turnout_server.store.rollouts import Stored
from turnout_server.vocabulary.errors import InvalidNameError, StoreError

_DISTRUST_EVERY = 512
"""Each model is looked at afresh once in so many rounds, so that even what its stamps hide is noticed."""
_TRUST_QUIET = 30
"""Of so many rounds in which nothing seems to happen one looks all the same."""

_NO_LABELS: Mapping[str, int] = MappingProxyType({})


class ModelState(msgspec.Struct, frozen=True):
    """One model at one moment."""

    versions: tuple[int, ...]
    """The complete versions, ascending; never empty."""
    labels: Mapping[str, int]
    """Label -> version; empty where labels.json could not be read."""
    problems: tuple[str, ...] = ()
    """What is wrong with it, in sentences."""
    suspended: bool = False
    """Whether somebody said that none of it is to be served."""


class StoreSnapshot(msgspec.Struct, frozen=True):
    """The store at one moment. An unchanged model is the same `ModelState` object in the next snapshot."""

    models: Mapping[str, ModelState]
    problems: Mapping[str, tuple[str, ...]]
    """Folder name under models/ -> what is wrong with it; has folders, too, that are no model."""
    unreadable: frozenset[str]
    """Models whose versions or labels could not be read: what was known of them before is the best knowledge."""
    routes_text: str | None
    """The route table, None where there is none or it could not be read."""
    routes_digest: str | None
    """SHA-256 (hex) of the route table's bytes."""
    routes_problem: str | None
    """Why the route table could not be read."""
    had_routes: bool = False
    """Whether the audit has changes of a route table, though there is none."""
    rollouts: Mapping[str, Stored] | None = None
    """What has been decided about routes since, by their names; None where nobody can say which there are."""


class Models(NamedTuple):
    """The part of a `StoreSnapshot` that is about models."""

    models: Mapping[str, ModelState]
    problems: Mapping[str, tuple[str, ...]]
    unreadable: frozenset[str]


class Watcher:
    """Looks at all models, each time only at what may have changed since the last. Any thread."""

    def __init__(self, blobs: Blobs, patience: Patience | None = None) -> None:
        """Watch the store in *blobs*, each model with *patience*; nothing is read yet."""
        self._blobs = blobs
        self._patience = patience or Patience()
        self._known: dict[str, _Known] = {}
        self._round = 0
        self._looked = 0
        """The round in which the models were last looked at."""
        self._last: Models | None = None
        """What was seen then, where all of it had settled."""
        self._lock = threading.Lock()

    def look(self) -> Models:
        """Return every model as it is now. Raise `StoreError` where they cannot be listed."""
        with self._lock:
            self._round += 1
            # Who looks once only, as a command does, has no need to listen.
            is_quiet = self._looked > 0 and self._blobs.is_quiet(MODELS, LABELS_NAME)
            if self._last is not None and is_quiet and self._round < self._looked + _TRUST_QUIET:
                return self._last
            self._last = None  # should this fail
            seen = self._look()
            self._looked = self._round
            if all(each.is_settled for each in self._known.values()):
                self._last = seen
            return seen

    def _look(self) -> Models:
        known: dict[str, _Known] = {}
        models: dict[str, ModelState] = {}
        problems: dict[str, tuple[str, ...]] = {}
        unreadable: set[str] = set()
        for position, stamp in enumerate(self._blobs.stamps(MODELS, LABELS_NAME)):
            name = stamp.name
            before = self._known.get(name)
            if before is None and (problem := _refusal(stamp)):
                problems[os.fsencode(name).decode(errors="backslashreplace")] = (problem,)
                continue
            trusted = (position + self._round) % _DISTRUST_EVERY >= self._round - self._looked
            if trusted and before is not None and before.is_settled and before.mark == stamp.mark:
                now = before
            else:
                now = self._look_at(stamp, before)
            known[name] = now
            if now.state.versions:
                models[name] = now.state
            if now.state.problems:
                problems[name] = now.state.problems
            if not now.readable:
                unreadable.add(name)
        self._known = known
        return Models(MappingProxyType(models), MappingProxyType(problems), frozenset(unreadable))

    def _look_at(self, stamp: Stamp, before: _Known | None) -> _Known:
        """Look at one model; that its files hang is a problem of its own."""
        try:
            what = f"{MODELS}/{stamp.name}"
            return self._patience.do(what, lambda: _look(self._blobs, stamp, before), ("look", what))
        except StoreError as error:
            return _unreadable(stamp, error)


def _refusal(stamp: Stamp) -> str:
    """Say why a folder in models/ is no model's, if it is not."""
    try:
        check_name(stamp.name, "model")
    except InvalidNameError as error:
        return error.message
    return stamp.problem


class _Known(NamedTuple):
    """What one look at a model found, and the mark that tells whether looking again could differ."""

    state: ModelState
    readable: bool
    mark: Hashable
    is_settled: bool


def _look(blobs: Blobs, stamp: Stamp, before: _Known | None) -> _Known:
    """Look at one model. Its stamp was taken before, so a change in between is seen the next time."""
    model = stamp.name
    labels, problems, readable = _NO_LABELS, [], True
    try:
        # Labels first: a version is there before its label, so none seems to name what is not there.
        blob = blobs.get(labels_key(model))
        try:
            labels = MappingProxyType(decode_labels(None if blob is None else blob.content, model))
        except StoreError as error:
            problems, readable = [error.message], False
        suspended = blobs.get(suspended_key(model)) is not None
        versions = list_versions(blobs, model)
        if versions is None:
            raise StoreError(f"{model} {stamp.problem or 'went away'}")
    except StoreError as error:
        return _unreadable(stamp, error)
    problems += [f"version {number} has no {MANIFEST_NAME} and is left out" for number in versions.incomplete]
    problems += _dangling(labels, versions.complete)
    state = ModelState(versions.complete, labels, tuple(problems), suspended)
    if before is not None and before.state == state:
        state = before.state
    return _Known(state, readable, stamp.mark, stamp.is_settled and readable and not versions.incomplete)


def _unreadable(stamp: Stamp, error: StoreError) -> _Known:
    problem = f"cannot read the versions: {error.message}"
    return _Known(ModelState((), _NO_LABELS, (problem,)), False, stamp.mark, False)


def _dangling(labels: Mapping[str, int], versions: tuple[int, ...]) -> Iterator[str]:
    for label, version in labels.items():
        if version not in versions:
            yield f"label {label!r} names version {version}, which is not there"


class Versions(NamedTuple):
    """The versions of a model, ascending."""

    complete: tuple[int, ...]
    incomplete: tuple[int, ...]
    """Folders with a version's name and no manifest."""


def list_versions(blobs: Reading, model: str) -> Versions | None:
    """Return the versions of *model*; None where it has no folder."""
    entries = blobs.list(model_folder(model), MANIFEST_NAME)
    if entries is None:
        return None
    complete: list[int] = []
    incomplete: list[int] = []
    for entry in entries:
        if entry.is_folder and (number := version_number(entry.name)) is not None:
            (complete if entry.is_marked else incomplete).append(number)
    return Versions(tuple(sorted(complete)), tuple(sorted(incomplete)))
