"""Publishing: stage, verify, then appear atomically.

A version grows in a workspace of the store that no reader looks at. When all of it is on disk, one rename makes it
appear. A crash before the rename leaves a dead workspace, which the next publisher removes; a crash after it leaves a
whole version. A model's version numbers only grow: one that was given away is never used again, even when its version
was deleted, since metrics and exposures still speak of it.
"""

from __future__ import annotations

import contextlib
import errno
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from turnout_server.store import files
from turnout_server.store.labels import read_labels
from turnout_server.store.layout import Layout, check_label, check_name, version_number
from turnout_server.store.manifest import (
    MANIFEST_NAME,
    MODEL_FILE,
    SCHEMA_VERSION,
    Batching,
    FileEntry,
    Lineage,
    Manifest,
    RuntimeOptions,
    decode,
    encode,
)
from turnout_server.store.store import DirectoryStore
from turnout_server.store.verify import check_files_listed
from turnout_server.vocabulary.errors import InvalidManifestError, InvalidModelError
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.task import Task

Verify = Callable[[Path, Manifest], None]
"""Looks at a staged version's directory before it appears; raises a `TurnoutError` to keep it out."""

_NO_DIGEST = "0" * 64


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A version before it has a number."""

    model: str
    task: Task
    signature: Signature
    files: dict[str, Path]
    """Path inside the version -> the file to copy there: `{"model.onnx": Path("out/price.onnx")}`."""
    lineage: Lineage = Lineage()
    runtime: RuntimeOptions = RuntimeOptions()
    batching: Batching = Batching()
    owner: str = ""
    description: str = ""


def publish(
    store: Path,
    draft: Draft,
    *,
    labels: Sequence[str] = (),
    created_at: str | None = None,
    verify: Verify | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Manifest:
    """Publish *draft* as a new version of its model and return its manifest, which has the version's number.

    The store is made if it is not there yet. *created_at* is RFC 3339 with an offset, by default now. *verify* sees the
    staged directory and a manifest whose number is provisional. *on_progress* hears the bytes copied since it was last
    called. *labels* are set once the version is there.

    Raises:
        InvalidNameError: the model's or a label's name is not allowed.
        InvalidManifestError: the draft does not make a valid manifest.
        InvalidModelError: there is no `model.onnx` among the files, or a file is not there.
        StoreError: a file cannot be read, the store cannot be written, or its labels cannot be read.
        TurnoutError: whatever *verify* raises.
    """
    layout = Layout(store)
    check_name(draft.model, "model")
    for label in labels:
        check_label(label)
    manifest = _plan(draft, created_at or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    if labels:
        read_labels(layout, draft.model)
    with files.plain_errors("publish"):
        files.make_dirs(layout.staging)
        with files.workspace(layout.staging, layout.lock_path) as staged:
            manifest = _stage(staged, draft, manifest, on_progress or _ignore)
            manifest = _numbered(staged, manifest, _next_number(layout, draft.model))
            if verify is not None:
                verify(staged, manifest)
                check_files_listed(staged, manifest)
            with files.locked(layout.lock_path):
                manifest = _appear(layout, staged, manifest)
    for label in labels:
        DirectoryStore(store).set_label(draft.model, label, manifest.version)
    return manifest


def _plan(draft: Draft, created_at: str) -> Manifest:
    """Return the manifest as far as it is known before copying, so that a bad draft is refused before any work."""
    try:
        if datetime.fromisoformat(created_at).tzinfo is None:
            raise ValueError("no offset from UTC")
    except ValueError as error:
        raise InvalidManifestError(f"$.created_at: {created_at!r} is not an RFC 3339 time: {error}") from error
    if MODEL_FILE not in draft.files:
        found = ", ".join(draft.files) or "none"
        raise InvalidModelError(f"a version needs a file named {MODEL_FILE}; there is {found}")
    for path, source in draft.files.items():
        with files.plain_errors(f"read the file for {path}"):
            if not source.is_file():
                raise InvalidModelError(f"cannot read the file for {path}: {source}: no such file")
    for name, metric in (*draft.lineage.metrics.items(), *draft.lineage.baseline.items()):
        if not math.isfinite(metric):
            raise InvalidManifestError(f"draft: metric {name!r} is {metric}; a metric is a finite number")
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        model=draft.model,
        version=1,
        task=draft.task,
        created_at=created_at,
        files=tuple(FileEntry(path, _NO_DIGEST, 0) for path in sorted(draft.files)),
        signature=draft.signature,
        lineage=draft.lineage,
        runtime=draft.runtime,
        batching=draft.batching,
        owner=draft.owner,
        description=draft.description,
    )
    try:
        raw = encode(manifest)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InvalidManifestError(f"draft: cannot be written as JSON: {error}") from error
    if decode(raw, "draft") != manifest:
        raise InvalidManifestError("draft: does not survive JSON; look for NaN or infinite defaults in it")
    return manifest


def _stage(staged: Path, draft: Draft, manifest: Manifest, on_progress: Callable[[int], None]) -> Manifest:
    entries = []
    for entry in manifest.files:
        target = staged / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        sha256, size = files.copy(draft.files[entry.path], target, on_progress)
        entries.append(FileEntry(entry.path, sha256, size))
    return msgspec.structs.replace(manifest, files=tuple(entries))


def _numbered(staged: Path, manifest: Manifest, number: int) -> Manifest:
    """Write the staged manifest anew with this version number; return it."""
    path = staged / MANIFEST_NAME
    manifest = msgspec.structs.replace(manifest, version=number)
    path.unlink(missing_ok=True)
    files.write(path, encode(manifest))
    return manifest


def _appear(layout: Layout, staged: Path, manifest: Manifest) -> Manifest:
    """Claim the next number and show the staged version under it. The caller holds the store's lock.

    The rename refuses to replace anything, so even a writer that ignores the lock costs no more than a number.
    """
    files.make_dirs(layout.model_dir(manifest.model))
    number = _next_number(layout, manifest.model)
    while True:
        if manifest.version != number:
            manifest = _numbered(staged, manifest, number)
        files.sync_tree(staged)
        files.replace(layout.last_version_path(manifest.model), f"{number}\n".encode(), layout.staging)
        target = layout.version_dir(manifest.model, number)
        try:
            staged.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            number += 1
        else:
            files.sync_dir(target.parent)
            return manifest


def _next_number(layout: Layout, model: str) -> int:
    """Return the number after every one that *model* has in use, whole or not, or has ever given away."""
    taken = 0
    with contextlib.suppress(FileNotFoundError):
        taken = max((version_number(path.name) or 0 for path in layout.model_dir(model).iterdir()), default=0)
    with contextlib.suppress(FileNotFoundError):
        # What somebody else scribbled there must not stop publishing: the directories still count.
        noted = layout.last_version_path(model).read_text(errors="replace").strip()
        taken = max(taken, version_number(noted) or 0)
    return taken + 1


def _ignore(_: int) -> None:
    pass
