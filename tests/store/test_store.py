"""Reading the store, moving labels, replacing the route table."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnout_server.store.layout import ROUTES_AUDIT
from turnout_server.store.manifest import Manifest
from turnout_server.store.store import NOBODY, UNSET, BlobStore, DirectoryStore
from turnout_server.vocabulary.errors import (
    DigestMismatchError,
    InvalidManifestError,
    InvalidNameError,
    InvalidRouteTableError,
    LabelNotFoundError,
    ModelNotFoundError,
    StaleWriteError,
    StoreError,
    TurnoutError,
    VersionNotFoundError,
)

Add = Callable[..., Manifest]


def loosen(path: Path) -> Path:
    """Make a published file writable, as somebody who tampers with it would."""
    path.chmod(0o644)
    return path


# ---------------------------------------------------------------- reading


def test_an_empty_store_has_no_models(store: BlobStore) -> None:
    assert store.models() == ()
    assert store.routes_text() is None


def test_a_model_is_there_once_it_has_a_version(root: Path, store: BlobStore, add: Add) -> None:
    (root / "models/empty").mkdir(parents=True)
    add("price")
    add("ranking")
    assert store.models() == ("price", "ranking")
    with pytest.raises(ModelNotFoundError, match="'empty'"):
        store.versions("empty")


def test_versions_are_sorted_as_numbers(store: BlobStore, add: Add) -> None:
    for _ in range(11):
        add()
    assert store.versions("price") == tuple(range(1, 12))


def test_what_is_missing_is_named(store: BlobStore, add: Add) -> None:
    add()
    with pytest.raises(ModelNotFoundError, match="'ranking'"):
        store.manifest("ranking", 1)
    with pytest.raises(VersionNotFoundError, match="'price' has no version 2"):
        store.manifest("price", 2)
    with pytest.raises(InvalidNameError):
        store.manifest("../price", 1)


@pytest.mark.parametrize("stray", ["foo", "tmp", "007", "0", ".half", "-1"])
def test_stray_directories_are_no_versions(root: Path, store: BlobStore, add: Add, stray: str) -> None:
    add()
    (root / "models/price" / stray).mkdir()
    (root / "models/price" / stray / "manifest.json").write_text("{}")
    assert store.versions("price") == (1,)


def test_stray_files_are_ignored(root: Path, store: BlobStore, add: Add) -> None:
    add()
    for place in (".DS_Store", "models/.DS_Store", "models/README", "models/price/.DS_Store", "models/price/2"):
        (root / place).write_text("stray")
    assert store.models() == ("price",)
    assert store.versions("price") == (1,)


def test_a_version_without_a_manifest_or_behind_a_link_is_not_listed(root: Path, store: BlobStore, add: Add) -> None:
    add()
    (root / "models/price/2").mkdir()
    (root / "models/price/3").symlink_to("1")
    (root / "models/price/4").mkdir()
    (root / "models/price/4/manifest.json").symlink_to("../1/manifest.json")
    assert store.versions("price") == (1,)
    (root / "models/link").symlink_to("price")
    with pytest.raises(ModelNotFoundError):
        store.versions("link")


def test_a_manifest_in_the_wrong_place_is_refused(root: Path, store: BlobStore, add: Add) -> None:
    add()
    (root / "models/price/1").rename(root / "models/price/2")
    with pytest.raises(InvalidManifestError, match=r"price version 2: .* says it is price version 1"):
        store.manifest("price", 2)


def test_a_broken_manifest_is_refused_and_its_version_still_listed(root: Path, store: BlobStore, add: Add) -> None:
    add()
    loosen(root / "models/price/1/manifest.json").write_text("{")
    assert store.versions("price") == (1,)
    with pytest.raises(InvalidManifestError, match=r"price version 1: manifest\.json"):
        store.verify("price", 1)


def test_a_missing_root_is_said_plainly(tmp_path: Path) -> None:
    missing = DirectoryStore(tmp_path / "nowhere")
    asks: list[Callable[[], object]] = [
        missing.models,
        missing.snapshot,
        missing.routes_text,
        lambda: missing.versions("price"),
        lambda: missing.labels("price"),
        lambda: missing.set_label("price", "champion", 1),
        lambda: missing.write_routes("routes: {}"),
    ]
    for ask in asks:
        with pytest.raises(StoreError, match=r"^cannot read the store: No such file or directory$") as caught:
            ask()
        assert caught.value.place == str(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("place", [".", "models"])
def test_a_file_where_a_directory_should_be_is_said_plainly(tmp_path: Path, place: str) -> None:
    path = tmp_path / "store" / place
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(StoreError, match=r"(?i)not a directory"):
        DirectoryStore(tmp_path / "store").snapshot()


# ---------------------------------------------------------------- verifying


def test_an_untouched_version_verifies(store: BlobStore, add: Add) -> None:
    assert store.verify("price", add().version).version == 1


@pytest.mark.parametrize("file", ["model.onnx", "external/weights.bin"])
def test_one_flipped_bit_is_noticed(root: Path, store: BlobStore, add: Add, file: str) -> None:
    add()
    path = loosen(root / "models/price/1" / file)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DigestMismatchError, match=rf"price version 1: {file}: has SHA-256 ") as caught:
        store.verify("price", 1)
    assert caught.value.details["file"] == file


def replace_by_link(path: Path) -> None:
    """Put a link to the same bytes in a file's place."""
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to("../elsewhere")


def replace_by_pipe(path: Path) -> None:
    """Put a pipe in a file's place: opening it would wait forever."""
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (lambda v: (v / "model.onnx").unlink(), "model.onnx: is missing"),
        (lambda v: loosen(v / "model.onnx").write_bytes(b"a"), "model.onnx: has 1 bytes, and the manifest says 5000"),
        (lambda v: replace_by_link(v / "model.onnx"), "model.onnx: is a symbolic link"),
        (lambda v: replace_by_pipe(v / "model.onnx"), "model.onnx: is not a plain file"),
        (lambda v: (v / ".DS_Store").touch(), ".DS_Store: is not in the manifest"),
        (lambda v: (v / "external/more").touch(), "external/more: is not in the manifest"),
        (lambda v: (v / "empty").mkdir(), "empty: is not in the manifest"),
        (lambda v: (v / "extra").symlink_to("/etc"), "extra: is a symbolic link"),
    ],
)
def test_tampering_is_noticed_and_the_file_named(
    root: Path, store: BlobStore, add: Add, tamper: Callable[[Path], object], said: str
) -> None:
    add()
    tamper(root / "models/price/1")
    with pytest.raises(DigestMismatchError) as caught:
        store.verify("price", 1)
    assert caught.value.message == f"price version 1: {said}"


def test_a_linked_directory_is_not_followed(root: Path, store: BlobStore, add: Add, tmp_path: Path) -> None:
    add()
    (root / "models/price/1/external").rename(tmp_path / "external")
    (root / "models/price/1/external").symlink_to(tmp_path / "external")
    with pytest.raises(DigestMismatchError, match=r"external/weights\.bin: is missing"):
        store.verify("price", 1)


def test_that_there_was_a_table_is_remembered(store: BlobStore, add: Add) -> None:
    add()
    assert not store.snapshot().had_routes
    store.write_routes("routes: {}\n")
    assert not store.snapshot().had_routes  # there is one
    assert store.blobs.delete("routes.yaml")
    assert store.snapshot().had_routes


def test_a_first_table_that_was_announced_and_never_written_was_none(store: BlobStore, add: Add) -> None:
    add()
    store.audit.announce(ROUTES_AUDIT, "routes", "replaced", NOBODY, None, b"routes: {}")
    assert not store.snapshot().had_routes


# ---------------------------------------------------------------- labels


def test_a_label_moves(store: BlobStore, add: Add) -> None:
    add()
    add()
    store.set_label("price", "champion", 1)
    store.set_label("price", "champion", 2)
    assert store.labels("price") == {"champion": 2}


def test_a_label_can_be_removed(store: BlobStore, add: Add) -> None:
    add(labels=["champion", "challenger"])
    store.set_label("price", "champion", None)
    assert store.labels("price") == {"challenger": 1}
    with pytest.raises(LabelNotFoundError):
        store.set_label("price", "champion", None)


def test_a_label_only_names_what_is_there(store: BlobStore, add: Add) -> None:
    add()
    with pytest.raises(VersionNotFoundError):
        store.set_label("price", "champion", 2)
    with pytest.raises(ModelNotFoundError):
        store.set_label("ranking", "champion", 1)
    with pytest.raises(InvalidNameError):
        store.set_label("price", "2", 1)
    assert store.labels("price") == {}


@pytest.mark.parametrize(("expected", "said"), [(None, "names version 1"), (2, "names version 1")])
def test_a_label_moved_by_somebody_else_is_not_moved(
    store: BlobStore, add: Add, expected: int | None, said: str
) -> None:
    add(labels=["champion"])
    add()
    for version in (2, None):
        with pytest.raises(StaleWriteError, match=said):
            store.set_label("price", "champion", version, expected)
    assert store.labels("price") == {"champion": 1}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"champion": "1"}', b'{"champion": 0}', b'{"7": 1}', b'{"Up": 1}', b"\xff\xfe"]
)
def test_wrong_labels_are_refused_and_not_overwritten(root: Path, store: BlobStore, add: Add, content: bytes) -> None:
    add()
    path = root / "models/price/labels.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"^price/labels\.json: "):
        store.labels("price")
    with pytest.raises(StoreError, match=r"^price/labels\.json: "):
        store.set_label("price", "champion", 1)
    assert path.read_bytes() == content


moves = st.tuples(st.sampled_from("abc"), st.sampled_from([1, 2, 3, None]), st.sampled_from([UNSET, None, 1, 2]))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(moves, max_size=6))
def test_labels_behave_as_a_dictionary_with_compare_and_set(
    store: BlobStore, add: Add, steps: list[tuple[str, int | None, int | None]]
) -> None:
    while len(store.models()) == 0 or len(store.versions("price")) < 2:
        add()
    for label in store.labels("price"):
        store.set_label("price", label, None)
    labels: dict[str, int] = {}
    for label, version, expected in steps:
        current = labels.get(label)
        allowed = version != 3 and expected in (UNSET, current) and not (version is None and current is None)
        try:
            store.set_label("price", label, version, expected)
        except TurnoutError:
            assert not allowed
        else:
            assert allowed
            labels.pop(label, None)
            labels |= {} if version is None else {label: version}
        assert store.labels("price") == labels


# ---------------------------------------------------------------- the route table


def test_a_route_table_is_replaced_whole(store: BlobStore) -> None:
    first = store.write_routes("routes: {}\n", None)
    second = store.write_routes("routes: {a: é}\n", first)
    assert store.routes_text() == "routes: {a: é}\n"
    assert first != second == store.snapshot().routes_digest


def test_a_table_changed_by_somebody_else_is_not_replaced(store: BlobStore) -> None:
    with pytest.raises(StaleWriteError):
        store.write_routes("mine", "0" * 64)
    first = store.write_routes("theirs")
    for expected in (None, "0" * 64):
        with pytest.raises(StaleWriteError, match="changed since it was read"):
            store.write_routes("mine", expected)
    assert store.routes_text() == "theirs"
    assert store.write_routes("mine", first) != first


def test_text_that_cannot_be_stored_is_refused(store: BlobStore) -> None:
    with pytest.raises(InvalidRouteTableError, match="UTF-8"):
        store.write_routes("\ud800")


def test_a_table_that_is_not_text_is_said_plainly(root: Path, store: BlobStore) -> None:
    (root / "routes.yaml").write_bytes(b"\xff")
    with pytest.raises(StoreError, match=r"routes\.yaml is not UTF-8 text"):
        store.routes_text()
