"""The model store: what versions there are, which labels name them, and the route table."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Protocol

from msgspec import UNSET, UnsetType

from turnout_server.store import files
from turnout_server.store.labels import encode_labels, read_labels
from turnout_server.store.layout import ROUTES_NAME, Layout, check_label
from turnout_server.store.manifest import MANIFEST_NAME, Manifest, decode
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

__all__ = ["UNSET", "DirectoryStore", "ModelState", "ModelStore", "StoreSnapshot", "UnsetType"]


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

    def set_label(self, model: str, label: str, version: int | None, expected: int | UnsetType | None = UNSET) -> None:
        """Point *label* at *version*, or remove it (None).

        With *expected*, only when the label names that version now (None: only when there is no such label).

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

    def version_dir(self, model: str, version: int) -> Path:
        """Return the directory with a version's files; the version need not be there."""
        ...

    def routes_text(self) -> str | None:
        """Return the route table, None where there is none."""
        ...

    def write_routes(self, text: str, expected: str | UnsetType | None = UNSET) -> str:
        """Replace the route table; return its SHA-256 (hex).

        With *expected*, only when that is the present table's (None: only when there is none), else `StaleWriteError`.
        """
        ...

    def snapshot(self) -> StoreSnapshot:
        """Return everything at once; cheap enough for every second. Raise `StoreError` where there is no store."""
        ...


class DirectoryStore:
    """A `ModelStore` in a directory. Readers never lock and never write; writers may be many, in many processes."""

    def __init__(self, root: Path) -> None:
        """Use the store at *root*; nothing is read yet."""
        self._layout = Layout(root)
        self._watcher = Watcher(self._layout)

    def models(self) -> tuple[str, ...]:
        """Return the models that have a complete version, sorted."""
        return tuple(self.snapshot().models)

    def versions(self, model: str) -> tuple[int, ...]:
        """Return the complete versions of *model*, ascending."""
        self._check_root()
        directory = self._layout.model_dir(model)
        with files.plain_errors(f"list the versions of {model}"):
            versions = list_versions(directory).complete
        if not versions:
            raise ModelNotFoundError(model)
        return versions

    def manifest(self, model: str, version: int) -> Manifest:
        """Return a version's manifest."""
        if version not in self.versions(model):
            raise VersionNotFoundError(model, version)
        place = f"{model} version {version}: {MANIFEST_NAME}"
        with files.plain_errors("read a manifest"):
            try:
                raw = self._layout.manifest_path(model, version).read_bytes()
            except FileNotFoundError:
                raise VersionNotFoundError(model, version) from None
        manifest = decode(raw, place)
        if (manifest.model, manifest.version) != (model, version):
            raise InvalidManifestError(f"{place}: says it is {manifest.model} version {manifest.version}")
        return manifest

    def labels(self, model: str) -> dict[str, int]:
        """Return label -> version."""
        self.versions(model)
        return read_labels(self._layout, model)

    def set_label(self, model: str, label: str, version: int | None, expected: int | UnsetType | None = UNSET) -> None:
        """Point *label* at *version*, or remove it (None), if it is as *expected*."""
        check_label(label)
        versions = self.versions(model)
        if version is not None and version not in versions:
            raise VersionNotFoundError(model, version)
        with files.plain_errors(f"write the labels of {model}"), files.locked(self._layout.lock_path):
            labels = read_labels(self._layout, model)
            current = labels.pop(label, None)
            if expected is not UNSET and current != expected:
                problem = f"label {label!r} of {model!r} {_names(current)}; expected was that it {_names(expected)}"
                raise StaleWriteError(problem, model=model, label=label)
            if version is None and current is None:
                raise LabelNotFoundError(model, label)
            if version is not None:
                labels[label] = version
            files.replace(self._layout.labels_path(model), encode_labels(labels), self._layout.staging)

    def verify(self, model: str, version: int) -> Manifest:
        """Compare each file of a version with its manifest, which is returned."""
        manifest = self.manifest(model, version)
        directory = self.version_dir(model, version)
        with files.plain_errors(f"verify {model} version {version}"):
            check_digests(directory, manifest)
        return manifest

    def version_dir(self, model: str, version: int) -> Path:
        """Return the directory with a version's files; the version need not be there."""
        return self._layout.version_dir(model, version)

    def routes_text(self) -> str | None:
        """Return the route table, None where there is none."""
        self._check_root()
        raw = self._read_routes()
        return None if raw is None else _text(raw)

    def write_routes(self, text: str, expected: str | UnsetType | None = UNSET) -> str:
        """Replace the route table, if it is as *expected*; return its SHA-256 (hex)."""
        self._check_root()
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRouteTableError("$", f"is not text that UTF-8 can hold: {error}") from error
        with files.plain_errors("write the route table"), files.locked(self._layout.lock_path):
            if expected is not UNSET:
                raw = self._read_routes()
                current = None if raw is None else _digest(raw)
                if current != expected:
                    raise StaleWriteError("the route table was changed since it was read; read it again")
            files.replace(self._layout.routes_path, content, self._layout.staging)
        return _digest(content)

    def snapshot(self) -> StoreSnapshot:
        """Return everything at once, looking only at what may have changed since the last time."""
        self._check_root()
        models, problems, unreadable = self._watcher.look()
        text, digest, problem = self._look_at_routes()
        return StoreSnapshot(models, problems, unreadable, text, digest, problem)

    def _check_root(self) -> None:
        with files.plain_errors("read the store"):
            if not stat.S_ISDIR(self._layout.root.stat().st_mode):
                raise StoreError(f"cannot read the store: {self._layout.root}: not a directory")

    def _read_routes(self) -> bytes | None:
        with files.plain_errors("read the route table"):
            try:
                return self._layout.routes_path.read_bytes()
            except FileNotFoundError:
                return None

    def _look_at_routes(self) -> tuple[str | None, str | None, str | None]:
        digest = None
        try:
            raw = self._read_routes()
            if raw is None:
                return None, None, None
            digest = _digest(raw)
            return _text(raw), digest, None
        except StoreError as error:
            return None, digest, error.message


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise StoreError(f"{ROUTES_NAME} is not UTF-8 text: {error}") from error


def _names(version: int | None) -> str:
    return "names nothing" if version is None else f"names version {version}"
