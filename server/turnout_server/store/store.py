"""The model store: what versions there are, which labels name them, and the route table."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import UNSET, UnsetType

from turnout_server.store.audit import DONE, Audit, By, Change, Entry, told
from turnout_server.store.blobs import Blobs
from turnout_server.store.blobs.directory import DirectoryBlobs
from turnout_server.store.change import ATTEMPTS, Account, Changes
from turnout_server.store.labels import decode_labels, encode_labels
from turnout_server.store.layout import (
    ROUTES_AUDIT,
    ROUTES_KEY,
    check_label,
    labels_key,
    manifest_key,
    model_audit,
    suspended_key,
    version_folder,
)
from turnout_server.store.manifest import MANIFEST_NAME, Manifest, decode
from turnout_server.store.patience import Patience, PatientBlobs
from turnout_server.store.rollouts import Rollouts, Stored
from turnout_server.store.snapshot import ModelState, StoreSnapshot, Watcher, list_versions
from turnout_server.store.verify import check_digests
from turnout_server.vocabulary.errors import (
    InvalidManifestError,
    InvalidRouteTableError,
    LabelNotFoundError,
    ModelNotFoundError,
    StaleWriteError,
    StoreError,
    VersionNotFoundError,
)
from turnout_server.vocabulary.versions import VersionKey

__all__ = [
    "ATTEMPTS",
    "NOBODY",
    "UNSET",
    "BlobStore",
    "By",
    "DirectoryStore",
    "ModelState",
    "ModelStore",
    "StoreSnapshot",
    "UnsetType",
]

_RECENT = 20
"""Entries of the audit that are looked at for the author of a table that has just come."""
NOBODY = By()
"""Who changes something without saying who that is."""


class ModelStore(Protocol):
    """What serving and administration need of a store."""

    def models(self) -> tuple[str, ...]:
        """Return the models that have a complete version, sorted."""
        ...

    def versions(self, model: str) -> tuple[int, ...]:
        """Return the complete versions of *model*, ascending; raise `ModelNotFoundError` where there is none."""
        ...

    def manifest(self, model: str, version: int) -> Manifest:
        """Return a version's manifest; `ModelNotFoundError`, `VersionNotFoundError`, `InvalidManifestError`."""
        ...

    def labels(self, model: str) -> dict[str, int]:
        """Return label -> version; raise `ModelNotFoundError`, or `StoreError` where they cannot be read."""
        ...

    def set_label(
        self,
        model: str,
        label: str,
        version: int | None,
        expected: int | UnsetType | None = UNSET,
        by: By = NOBODY,
    ) -> None:
        """Point *label* at *version*, or remove it (None).

        With *expected*, only when the label names that version now (None: only when there is no such label). The audit
        says that it was *by* whom, as of all that is changed here.

        Raises:
            StaleWriteError: the label is not as expected.
            ModelNotFoundError, VersionNotFoundError: there is no such model or version.
            LabelNotFoundError: the label to remove is not there.
        """
        ...

    def verify(self, model: str, version: int) -> Manifest:
        """Compare each file of a version with its manifest, which is returned.

        Raises:
            DigestMismatchError: a file is missing, changed, not a plain file, or not in the manifest; names it.
        """
        ...

    def suspend(self, model: str, by: By = NOBODY) -> bool:
        """Say that *model* is not to be served; return False, and write nothing, where that is said already.

        Raises:
            ModelNotFoundError: there is no such model.
            StoreReadOnlyError: the store may not be written.
        """
        ...

    def resume(self, model: str, by: By = NOBODY) -> bool:
        """Take `suspend` back; return False, and write nothing, where *model* is not suspended."""
        ...

    def routes_text(self) -> str | None:
        """Return the route table, None where there is none."""
        ...

    def write_routes(
        self,
        text: str,
        expected: str | UnsetType | None = UNSET,
        by: By = NOBODY,
        versions: Collection[VersionKey] = (),
    ) -> str:
        """Replace the route table; return its SHA-256 (hex).

        With *expected*, only when that is the present table's (None: only when there is none), else `StaleWriteError`.

        Args:
            text: the table.
            expected: the digest of the present one.
            by: who does this.
            versions: those that the table names by their numbers. Nobody removes them while it is being written; if one
                is gone, that is an `InvalidRouteTableError`.
        """
        ...

    def routes_author(self, digest: str) -> Entry | None:
        """Return who made the table of this digest the present one; None where the audit does not know."""
        ...

    def snapshot(self) -> StoreSnapshot:
        """Return everything at once; cheap enough for every second. Raise `StoreError` where there is no store."""
        ...


class BlobStore:
    """A `ModelStore` on any blobs. Readers never write; writers may be many, in many processes."""

    def __init__(self, blobs: Blobs) -> None:
        """Use the store in *blobs*; nothing is read yet."""
        self.blobs = blobs
        self._patience = Patience()
        self._reading = PatientBlobs(blobs, self._patience)
        self._watcher = Watcher(blobs, self._patience)
        self.audit = Audit(blobs, self._reading)
        """Who changed what."""
        self._changes = Changes(blobs, self._reading, self.audit)
        self.rollouts = Rollouts(self._reading, self._changes)
        """What has been decided about routes since their table was written."""

    @property
    def stuck(self) -> int:
        """How many threads wait for a disk that does not answer."""
        return self._patience.stuck

    def models(self) -> tuple[str, ...]:
        """Return the models that have a complete version, sorted."""
        return tuple(self.snapshot().models)

    def versions(self, model: str) -> tuple[int, ...]:
        """Return the complete versions of *model*, ascending."""
        self._reading.check()
        versions = list_versions(self._reading, model)
        if versions is None or not versions.complete:
            raise ModelNotFoundError(model)
        return versions.complete

    def manifest(self, model: str, version: int) -> Manifest:
        """Return a version's manifest."""
        if version not in self.versions(model):
            raise VersionNotFoundError(model, version)
        place = f"{model} version {version}: {MANIFEST_NAME}"
        blob = self._reading.get(manifest_key(model, version))
        if blob is None:
            raise VersionNotFoundError(model, version)
        manifest = decode(blob.content, place)
        if (manifest.model, manifest.version) != (model, version):
            raise InvalidManifestError(f"{place}: says it is {manifest.model} version {manifest.version}")
        return manifest

    def labels(self, model: str) -> dict[str, int]:
        """Return label -> version."""
        self.versions(model)
        blob = self._reading.get(labels_key(model))
        return decode_labels(None if blob is None else blob.content, model)

    def set_label(
        self,
        model: str,
        label: str,
        version: int | None,
        expected: int | UnsetType | None = UNSET,
        by: By = NOBODY,
    ) -> None:
        """Point *label* at *version*, or remove it (None), if it is as *expected*."""
        check_label(label)
        versions = self.versions(model)
        if version is not None and version not in versions:
            raise VersionNotFoundError(model, version)

        def moved(raw: bytes | None) -> bytes:
            labels = decode_labels(raw, model)
            current = labels.pop(label, None)
            if expected is not UNSET and current != expected:
                problem = f"label {label!r} of {model!r} {_names(current)}; expected was that it {_names(expected)}"
                raise StaleWriteError(problem, model=model, label=label)
            if version is None and current is None:
                raise LabelNotFoundError(model, label)
            if version is not None:
                labels[label] = version
            return encode_labels(labels)

        action = f"{label} removed" if version is None else f"{label} -> {version}"
        named = () if version is None else (VersionKey(model, version),)
        self._changes.make(labels_key(model), moved, Account(model_audit(model), "labels", action, by), named)

    def verify(self, model: str, version: int) -> Manifest:
        """Compare each file of a version with its manifest, which is returned."""
        manifest = self.manifest(model, version)
        folder = version_folder(model, version)
        check_digests(
            self.blobs.walk(folder), lambda path, most: self.blobs.measure(f"{folder}/{path}", most), manifest
        )
        return manifest

    def suspend(self, model: str, by: By = NOBODY) -> bool:
        """Say that *model* is not to be served; return whether that is new."""
        self.versions(model)
        since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        key = suspended_key(model)
        if self._reading.get(key) is not None:
            return False
        announced = self.audit.announce(model_audit(model), "suspended", "suspended", by)
        is_new = self.blobs.put_if_absent(key, msgspec.json.encode({"since": since}) + b"\n")
        if is_new:
            self.audit.confirm(announced)
        return is_new

    def resume(self, model: str, by: By = NOBODY) -> bool:
        """Take `suspend` back; return whether *model* was suspended."""
        self.versions(model)
        key = suspended_key(model)
        if self._reading.get(key) is None:
            return False
        announced = self.audit.announce(model_audit(model), "suspended", "resumed", by)
        was_there = self.blobs.delete(key)
        if was_there:
            self.audit.confirm(announced)
        return was_there

    def routes_text(self) -> str | None:
        """Return the route table, None where there is none."""
        self._reading.check()
        blob = self._reading.get(ROUTES_KEY)
        return None if blob is None else _text(blob.content)

    def write_routes(
        self,
        text: str,
        expected: str | UnsetType | None = UNSET,
        by: By = NOBODY,
        versions: Collection[VersionKey] = (),
    ) -> str:
        """Replace the route table, if it is as *expected*; return its SHA-256 (hex)."""
        self._reading.check()
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRouteTableError("$", f"is not text that UTF-8 can hold: {error}") from error

        def replaced(raw: bytes | None) -> bytes:
            if expected is not UNSET and (None if raw is None else _digest(raw)) != expected:
                raise StaleWriteError("the route table was changed since it was read; read it again")
            return content

        try:
            account = Account(ROUTES_AUDIT, "routes", by.how or "replaced", by)
            self._changes.make(ROUTES_KEY, replaced, account, versions)
        except VersionNotFoundError as error:
            raise InvalidRouteTableError("$.routes", f"{error.message}; it was removed meanwhile") from error
        return _digest(content)

    def routes_changes(self) -> tuple[Change, ...]:
        """Return the changes that led to the present route table, newest first, as far as the audit has them.

        Raises:
            StoreError: the audit or the table cannot be read.
        """
        noted = [each for each in self.audit.entries(ROUTES_AUDIT) if each.entry.what == "routes"]
        blob = self._reading.get(ROUTES_KEY)  # after the entries: one that is being written is not taken for a break
        return told(noted, None if blob is None else _digest(blob.content))

    def routes_author(self, digest: str) -> Entry | None:
        """Return who made the table of this digest the present one; None where that was done outside Turnout."""
        noted = self.audit.entries(ROUTES_AUDIT, most=_RECENT)
        newest = next((each.entry for each in reversed(noted) if each.is_done or each.entry.after == digest), None)
        return newest if newest is not None and newest.after == digest else None

    def model_events(self, model: str) -> tuple[Entry, ...]:
        """Return what else the audit says has happened to *model*, newest first: published, suspended, removed.

        Raises:
            StoreError: the audit cannot be read.
        """
        noted = self.audit.entries(model_audit(model))
        return tuple(each.entry for each in reversed(noted) if each.entry.what != "labels" and each.is_done)

    def label_changes(self, model: str) -> tuple[Change, ...]:
        """Return the changes that led to the present labels of *model*, likewise; it need not have versions any more.

        Raises:
            StoreError: the audit or the labels cannot be read.
        """
        noted = [each for each in self.audit.entries(model_audit(model)) if each.entry.what == "labels"]
        blob = self._reading.get(labels_key(model))
        return told(noted, None if blob is None else _digest(blob.content))

    def snapshot(self) -> StoreSnapshot:
        """Return everything at once, looking only at what may have changed since the last time."""
        self._reading.check()
        models, problems, unreadable = self._watcher.look()
        text, digest, problem = self._look_at_routes()
        had_routes = text is None and problem is None and self._had_routes()
        return StoreSnapshot(models, problems, unreadable, text, digest, problem, had_routes, self._look_at_rollouts())

    def _had_routes(self) -> bool:
        try:
            return any(entry.name.endswith(DONE) for entry in self._reading.list(ROUTES_AUDIT) or ())
        except StoreError:
            return False

    def _look_at_rollouts(self) -> Mapping[str, Stored] | None:
        try:
            return self.rollouts.read()
        except StoreError:
            return None

    def _look_at_routes(self) -> tuple[str | None, str | None, str | None]:
        digest = None
        try:
            blob = self._reading.get(ROUTES_KEY)
            if blob is None:
                return None, None, None
            digest = _digest(blob.content)
            return _text(blob.content), digest, None
        except StoreError as error:
            return None, digest, error.message


class DirectoryStore(BlobStore):
    """A store in a directory. Readers never lock either."""

    def __init__(self, root: Path) -> None:
        """Use the store at *root*; nothing is read yet."""
        super().__init__(DirectoryBlobs(root))


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise StoreError(f"{ROUTES_KEY} is not UTF-8 text: {error}") from error


def _names(version: int | None) -> str:
    return "names nothing" if version is None else f"names version {version}"
