"""What a version says of itself: `manifest.json`, frozen and versioned."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from turnout_server.vocabulary.errors import InvalidManifestError
from turnout_server.vocabulary.names import Name
from turnout_server.vocabulary.signature import DType, Scalar, Signature
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.versions import LARGEST_VERSION

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
MODEL_FILE = "model.onnx"


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a version, path relative to the version's directory."""

    path: str
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    size: Annotated[int, msgspec.Meta(ge=0)]


class Lineage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a version comes from."""

    framework: str = ""
    """What trained it, with its release: `lightgbm 4.7.0`."""
    data: str = ""
    """What it was trained on, precisely enough to find again."""
    code: str = ""
    """The revision of the code that trained it."""
    baseline: dict[str, float] = {}
    """The same metrics for the stated baseline, on the same held-out split."""
    metrics: dict[str, float] = {}
    """Held-out metrics by name: `recall@20`, `ndcg@10`, `rmse`."""
    notes: str = ""


class RuntimeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How ONNX Runtime should run the graph."""

    intra_op_threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    spinning: bool = False
    """Whether idle intra-op threads spin; faster alone, costly in company."""
    run_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=1e6)] | None = None
    """How long a run may take, in seconds; None is the gateway's to say (`limits.run_timeout_s`)."""


class Batching(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How requests for this version are put together; what is None is the gateway's to say."""

    max_rows: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] | None = None
    """Rows of a batch at most; 1 runs every request by itself. A request with more rows than this runs alone."""
    max_delay_us: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] | None = None
    """How many microseconds a request may be kept waiting for company when it could run."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One version of a model, complete: enough to load, verify and explain it."""

    schema_version: int
    model: Name
    version: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_VERSION)]
    task: Task
    created_at: str
    """RFC 3339, UTC."""
    files: tuple[FileEntry, ...]
    signature: Signature
    lineage: Lineage = Lineage()
    runtime: RuntimeOptions = RuntimeOptions()
    batching: Batching = Batching()
    owner: str = ""
    description: str = ""


# Made here, as whatever several threads decode with: msgspec learns a type's fields when it first needs them, and 0.22
# crashes the process where two threads make it do so at once.
_DECODER = msgspec.json.Decoder(Manifest)


def size_of(manifest: Manifest) -> int:
    """Return how many bytes a version's files have."""
    return sum(entry.size for entry in manifest.files)


def encode(manifest: Manifest) -> bytes:
    """Return *manifest* as indented JSON, the same bytes every time."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2) + b"\n"


def decode(raw: bytes, place: str = MANIFEST_NAME) -> Manifest:
    """Read a manifest.

    Raises:
        InvalidManifestError: the bytes are not a manifest of a schema version that this release knows.
            The message starts with *place*.
    """
    try:
        head: Any = msgspec.json.decode(raw)
        found = head.get("schema_version") if isinstance(head, dict) else None
        if found != SCHEMA_VERSION:
            raise InvalidManifestError(f"{place}: schema_version is {found!r}; this release reads {SCHEMA_VERSION}")
        manifest = _DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidManifestError(f"{place}: {error}") from error
    _check_signature(manifest.signature, place)
    _check_paths(manifest, place)
    return manifest


def _check_signature(signature: Signature, place: str) -> None:
    for side, specs in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        names = [spec.name for spec in specs]
        if len(set(names)) != len(names):
            raise InvalidManifestError(f"{place}: $.signature.{side}: names are not unique")
    for index, spec in enumerate(signature.inputs):
        here = f"{place}: $.signature.inputs[{index}]"
        if spec.columns and (len(spec.shape) != 2 or spec.shape[1] != len(spec.columns)):
            raise InvalidManifestError(f"{here}: {len(spec.columns)} columns do not fit shape {list(spec.shape)}")
        if len({column.name for column in spec.columns}) != len(spec.columns):
            raise InvalidManifestError(f"{here}.columns: names are not unique")
        if spec.default is not None and not _fits(spec.default, spec.dtype):
            raise InvalidManifestError(f"{here}.default: {spec.default!r} is no {spec.dtype}")


def _fits(default: Scalar, dtype: DType) -> bool:
    if dtype is DType.BYTES:
        return isinstance(default, str)
    if dtype is DType.BOOL:
        return isinstance(default, bool)
    if isinstance(default, bool | str):
        return False
    return dtype.startswith(("FP", "BF")) or isinstance(default, int) or default.is_integer()


def _check_paths(manifest: Manifest, place: str) -> None:
    paths = [entry.path for entry in manifest.files]
    above = {path[:cut] for path in paths for cut, char in enumerate(path) if char == "/"}
    seen: set[str] = set()
    for index, path in enumerate(paths):
        here = f"{place}: $.files[{index}].path: {path!r}"
        if "\\" in path or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
            raise InvalidManifestError(f"{here} leaves the version's directory")
        if path in seen:
            raise InvalidManifestError(f"{here} is there twice")
        if path in above or path.split("/")[0] == MANIFEST_NAME:
            raise InvalidManifestError(f"{here} has to be a file and a directory, or the manifest itself")
        seen.add(path)
