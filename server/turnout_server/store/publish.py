"""Publishing: stage, verify, claim a number, then appear atomically.

A version grows in a workspace that no reader looks at. When it is whole and verified, its publisher claims the model's
next number by compare-and-swap, and shows the version under it, its manifest last. A crash before that leaves a dead
workspace, which the next publisher removes, and perhaps a number that nobody has; a crash after it leaves a whole
version. A model's version numbers only grow: one that was given away is never used again, even when its version was
deleted, since metrics and exposures still speak of it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from turnout_server.store import files
from turnout_server.store.blobs import Blob, Blobs
from turnout_server.store.blobs.directory import DirectoryBlobs, walk
from turnout_server.store.labels import decode_labels
from turnout_server.store.layout import (
    check_label,
    check_name,
    labels_key,
    last_version_key,
    model_audit,
    model_folder,
    version_folder,
    version_number,
)
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
from turnout_server.store.store import ATTEMPTS, NOBODY, BlobStore, By
from turnout_server.store.verify import check_files_listed
from turnout_server.vocabulary.errors import (
    InvalidManifestError,
    InvalidModelError,
    StaleWriteError,
    StoreError,
    TurnoutError,
)
from turnout_server.vocabulary.names import CHAMPION
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
    store: Path | Blobs,
    draft: Draft,
    *,
    labels: Sequence[str] = (),
    champion: bool = True,
    created_at: str | None = None,
    verify: Verify | None = None,
    on_progress: Callable[[int], None] | None = None,
    by: By = NOBODY,
) -> Manifest:
    """Publish *draft* as a new version of its model and return its manifest, which has the version's number.

    The store is made if it is not there yet. *created_at* is RFC 3339 with an offset, by default now. *verify* sees the
    staged directory and a manifest whose number is provisional. *on_progress* hears the bytes copied since it was last
    called. *labels* are set once the version is there; with *champion* that label too, where the version is the model's
    first and nobody has set it, so that later versions get no traffic by themselves. The audit says that it was *by*
    whom.

    Raises:
        InvalidNameError: the model's or a label's name is not allowed.
        InvalidManifestError: the draft does not make a valid manifest.
        InvalidModelError: there is no `model.onnx` among the files, or a file is not there.
        StoreError: a file cannot be read, the store cannot be written, or its labels cannot be read.
        TurnoutError: whatever *verify* raises.
    """
    blobs = DirectoryBlobs(store) if isinstance(store, Path) else store
    check_name(draft.model, "model")
    for label in labels:
        check_label(label)
    manifest = _plan(draft, created_at or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    if labels and (known := blobs.get(labels_key(draft.model))) is not None:
        decode_labels(known.content, draft.model)
    with blobs.workspace() as staged:
        manifest = _stage(staged, draft, manifest, on_progress or _ignore)
        manifest = _numbered(
            staged, manifest, _next_number(blobs, draft.model, blobs.get(last_version_key(draft.model)))
        )
        if verify is not None:
            with files.plain_errors("look at what is staged"):
                verify(staged, manifest)
                check_files_listed(walk(staged), manifest)
        manifest = _appear(blobs, staged, manifest)
    published = BlobStore(blobs)
    published.audit.note(model_audit(draft.model), "version", f"version {manifest.version} published", by)
    try:
        for label in labels:
            published.set_label(draft.model, label, manifest.version, by=by)
        if champion and published.versions(draft.model)[0] == manifest.version:
            # Of two who publish a first version at the same time one is first, or sees the other's label.
            with contextlib.suppress(StaleWriteError):
                published.set_label(draft.model, CHAMPION, manifest.version, None, by=by)
    except TurnoutError as error:
        # Who took it for a failure would publish the same once more.
        there = f"{draft.model} version {manifest.version} is published"
        error.message = f"{there}, and its labels are not all set: {error.message}"
        raise
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
        with files.plain_errors(f"read the file for {entry.path}"):
            reader = draft.files[entry.path].open("rb")
        with reader, files.plain_errors("publish", writing=True):
            target = staged / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            sha256, size = files.copy(reader, target, on_progress)
        entries.append(FileEntry(entry.path, sha256, size))
    return msgspec.structs.replace(manifest, files=tuple(entries))


def _numbered(staged: Path, manifest: Manifest, number: int) -> Manifest:
    """Write the staged manifest anew with this version number; return it."""
    path = staged / MANIFEST_NAME
    manifest = msgspec.structs.replace(manifest, version=number)
    with files.plain_errors("publish", writing=True):
        path.unlink(missing_ok=True)
        files.write(path, encode(manifest))
    return manifest


def _appear(blobs: Blobs, staged: Path, manifest: Manifest) -> Manifest:
    """Claim a number and show the staged version under it; again where somebody without a claim was faster."""
    number = 0
    while True:
        number = _claim(blobs, manifest.model, number)
        if manifest.version != number:
            manifest = _numbered(staged, manifest, number)
        if blobs.put_tree_if_absent(version_folder(manifest.model, number), staged, MANIFEST_NAME):
            return manifest


def _claim(blobs: Blobs, model: str, after: int) -> int:
    """Return a version number above *after* that is the caller's from now on, and never anybody else's."""
    key = last_version_key(model)
    for _ in range(ATTEMPTS):
        noted = blobs.get(key)
        number = max(_next_number(blobs, model, noted), after + 1)
        content = f"{number}\n".encode()
        if blobs.put_if_absent(key, content) if noted is None else blobs.put_if_match(key, content, noted.tag):
            return number
    raise StoreError(f"cannot publish: others took {ATTEMPTS} numbers of {model} meanwhile")


def _next_number(blobs: Blobs, model: str, noted: Blob | None) -> int:
    """Return the number after every one that *model* has in use, whole or not, or has *noted* as given away."""
    entries = blobs.list(model_folder(model)) or ()
    taken = max((version_number(entry.name) or 0 for entry in entries), default=0)
    if noted is not None:
        # What somebody else scribbled there must not stop publishing: the folders still count.
        taken = max(taken, version_number(noted.content.decode(errors="replace").strip()) or 0)
    return taken + 1


def _ignore(_: int) -> None:
    pass
