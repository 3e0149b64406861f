"""Manifests survive being written; what is not a manifest is refused with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.together import check_first_use
from turnout_server.store.manifest import FileEntry, Lineage, Manifest, RuntimeOptions, decode, encode
from turnout_server.vocabulary.errors import InvalidManifestError
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
names = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", fullmatch=True)
parts = st.from_regex(r"[a-z]{1,6}", fullmatch=True)


def defaults(dtype: DType) -> st.SearchStrategy[Any]:
    """Values that fit a dtype."""
    if dtype is DType.BYTES:
        return texts
    if dtype is DType.BOOL:
        return st.booleans()
    return numbers if dtype.startswith("FP") else st.integers(-(2**31), 2**31)


@st.composite
def specs(draw: st.DrawFn, name: str) -> TensorSpec:
    """A tensor of this name, with a default, with columns, or plain."""
    dtype = draw(st.sampled_from(DType))
    columns = tuple(Column(f"c{i}", draw(st.none() | numbers)) for i in range(draw(st.integers(0, 3))))
    if columns:
        return TensorSpec(name, dtype, (-1, len(columns)), columns=columns)
    shape = tuple(draw(st.lists(st.integers(-1, 2**40), max_size=4)))
    return TensorSpec(name, dtype, shape, default=draw(st.none() | defaults(dtype)))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Any manifest that is valid."""
    inputs, outputs = (
        tuple(draw(specs(name)) for name in draw(st.lists(texts, unique=True, max_size=3))) for _ in range(2)
    )
    paths = draw(st.lists(st.builds("{}/{}.bin".format, parts, parts), unique=True, max_size=3))
    digest = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
    return Manifest(
        schema_version=1,
        model=draw(names),
        version=draw(st.integers(1, 2**62)),
        task=draw(st.sampled_from(Task)),
        created_at=draw(texts),
        files=tuple(FileEntry(path, draw(digest), draw(st.integers(0, 2**40))) for path in paths),
        signature=Signature(
            inputs,
            outputs,
            draw(st.booleans()),
            draw(st.none() | st.integers(1, 2**48)),
            draw(st.none() | st.integers(1, 2**48)),
        ),
        lineage=Lineage(draw(texts), draw(texts), draw(texts), draw(st.dictionaries(texts, numbers, max_size=2))),
        runtime=RuntimeOptions(draw(st.integers(1, 256)), draw(st.booleans())),
        owner=draw(texts),
        description=draw(texts),
    )


@given(manifests())
def test_a_manifest_survives_being_written(manifest: Manifest) -> None:
    assert decode(encode(manifest)) == manifest
    assert encode(decode(encode(manifest))) == encode(manifest)


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | texts, lambda c: st.dictionaries(texts, c)).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_whatever_is_no_manifest_is_refused_as_one(raw: bytes) -> None:
    with pytest.raises(InvalidManifestError, match=r"^here: "):
        decode(raw, "here")


@given(manifests(), st.data())
def test_a_cut_manifest_is_refused(manifest: Manifest, data: st.DataObject) -> None:
    raw = encode(manifest).rstrip()
    with pytest.raises(InvalidManifestError):
        decode(raw[: data.draw(st.integers(0, len(raw) - 1))])


def test_endless_nesting_is_refused() -> None:
    with pytest.raises(InvalidManifestError):
        decode(b'{"schema_version":' + b"[" * 200_000)


PLAIN: dict[str, Any] = {
    "schema_version": 1,
    "model": "price",
    "version": 3,
    "task": "price",
    "created_at": "2026-11-23T10:00:00Z",
    "files": [{"path": "model.onnx", "sha256": "0" * 64, "size": 1}],
    "signature": {"inputs": [{"name": "carat", "dtype": "FP32", "shape": [-1, 1]}], "outputs": []},
}


def changed(place: str, value: object) -> bytes:
    """The plain manifest with the value at a dotted place replaced."""
    whole = json.loads(json.dumps(PLAIN))
    *path, last = place.split(".")
    inner = whole
    for key in path:
        inner = inner[int(key) if key.isdigit() else key]
    inner[int(last) if last.isdigit() else last] = value
    return json.dumps(whole).encode()


def test_the_plain_manifest_is_one() -> None:
    assert decode(json.dumps(PLAIN).encode()).version == 3


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("schema_version", 2, "schema_version is 2; this release reads 1"),
        ("schema_version", True, r"\$.schema_version"),
        ("version", 0, r"\$.version"),
        ("version", 1 << 63, r"\$.version"),
        ("model", "Price", r"\$.model"),
        ("model", "price\n", r"\$.model"),
        ("task", "guessing", r"\$.task"),
        ("colour", "red", "colour"),
        ("files.0.path", "/etc/passwd", "leaves the version's directory"),
        ("files.0.path", "a/../../b", "leaves the version's directory"),
        ("files.0.path", "a//b", "leaves the version's directory"),
        ("files.0.path", "", "leaves the version's directory"),
        ("files.0.path", "a\\b", "leaves the version's directory"),
        ("files.0.path", "a\0b", "leaves the version's directory"),
        ("files.0.path", "manifest.json", "the manifest itself"),
        ("files.0.path", "manifest.json/x", "the manifest itself"),
        ("files", [PLAIN["files"][0]] * 2, "there twice"),
        ("files", [PLAIN["files"][0], PLAIN["files"][0] | {"path": "model.onnx/w"}], "a file and a directory"),
        ("files.0.size", -1, r"\$.files\[0\].size|\$.files\[...\].size"),
        ("files.0.sha256", "0" * 63, "sha256"),
        ("files.0.sha256", "A" * 64, "sha256"),
        ("signature.inputs.0.shape", [-2], "shape"),
        ("signature.inputs.0.shape", [1 << 63], "shape"),
        ("signature.inputs.0.dtype", "FP31", "dtype"),
        ("signature.inputs.0.default", "many", "'many' is no FP32"),
        ("signature.inputs.0.default", True, "True is no FP32"),
        ("signature.inputs.0.columns", [{"name": "a"}, {"name": "b"}], "2 columns do not fit"),
        ("signature.inputs", [PLAIN["signature"]["inputs"][0]] * 2, "names are not unique"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_place(place: str, value: object, said: str) -> None:
    with pytest.raises(InvalidManifestError, match=said):
        decode(changed(place, value))


@pytest.mark.parametrize(("dtype", "default"), [("INT64", 1.5), ("BYTES", 1), ("BOOL", 1), ("UINT8", "1")])
def test_a_default_has_to_fit_its_dtype(dtype: str, default: object) -> None:
    spec = {"name": "x", "dtype": dtype, "shape": [-1], "default": default}
    with pytest.raises(InvalidManifestError, match=rf"\$.signature.inputs\[0\].default: .* is no {dtype}"):
        decode(changed("signature.inputs.0", spec))


def test_a_whole_default_may_have_any_number_of_digits() -> None:
    spec = {"name": "x", "dtype": "INT64", "shape": [-1], "default": 10**400}
    assert decode(changed("signature.inputs.0", spec)).signature.inputs[0].default == 10**400


def test_many_threads_may_read_the_first_ones() -> None:
    check_first_use(
        "from turnout_server.store.manifest import decode", "decode(sys.argv[1].encode())", json.dumps(PLAIN)
    )
