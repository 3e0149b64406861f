"""A version appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turnout_server.store import publish as publishing
from turnout_server.store.manifest import Lineage, Manifest
from turnout_server.store.publish import Draft, publish
from turnout_server.store.store import BlobStore, DirectoryStore
from turnout_server.vocabulary.errors import (
    DigestMismatchError,
    InvalidManifestError,
    InvalidModelError,
    InvalidNameError,
    StoreError,
)
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec

NAN_DEFAULT = Signature((TensorSpec("carat", DType.FP32, (-1, 1), default=float("nan")),), ())
Drafts = Callable[..., Draft]
Add = Callable[..., Manifest]


def workspaces(root: Path) -> list[Path]:
    """What is being staged, or was left there."""
    return [path for path in (root / ".staging").glob("*") if path.is_dir()]


def test_what_is_published_is_what_was_drafted(root: Path, draft: Drafts) -> None:
    drafted = draft(owner="pricing", lineage=Lineage(framework="x 1", metrics={"rmse": 517.0}))
    manifest = publish(root, drafted, created_at="2026-11-23T10:00:00Z")
    assert (manifest.model, manifest.version, manifest.owner) == ("price", 1, "pricing")
    assert manifest.created_at == "2026-11-23T10:00:00Z"
    assert manifest.lineage == drafted.lineage
    assert DirectoryStore(root).verify("price", 1) == manifest
    for path, source in drafted.files.items():
        assert (root / "models/price/1" / path).read_bytes() == source.read_bytes()


def test_versions_count_up_from_one(add: Add) -> None:
    assert [add().version for _ in range(3)] == [1, 2, 3]
    assert add("other").version == 1


def test_published_files_are_read_only_and_readable_by_the_gateway(root: Path, add: Add) -> None:
    add()
    modes = {stat.S_IMODE(p.stat().st_mode) for p in (root / "models/price/1").rglob("*") if p.is_file()}
    assert modes == {0o444}
    assert stat.S_IMODE((root / "models/price/1").stat().st_mode) & 0o700 == 0o700


def test_a_deleted_versions_number_is_not_used_again(root: Path, add: Add) -> None:
    add()
    add()
    shutil.rmtree(root / "models/price/2")
    assert add().version == 3


@pytest.mark.parametrize("name", ["4", "4.txt", "004", "foo"])
def test_a_stray_thing_with_a_versions_name_keeps_its_number(root: Path, add: Add, name: str) -> None:
    add()
    (root / "models/price" / name).write_text("not a version")
    assert add().version == (5 if name == "4" else 2)


def test_a_scribbled_high_water_mark_does_not_stop_publishing(root: Path, add: Add) -> None:
    add()
    (root / "models/price/.last_version").write_bytes(b"\xff many")
    assert add().version == 2


def test_a_number_taken_in_spite_of_the_lock_is_left_alone(
    root: Path, add: Add, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = add()
    monkeypatch.setattr(publishing, "_next_number", lambda *_: 1)
    assert add().version == 2
    assert store.verify("price", 1) == first
    assert store.verify("price", 2).version == 2


def test_labels_are_set_on_the_new_version(add: Add, store: BlobStore) -> None:
    add(labels=["champion", "challenger"])
    add(labels=["challenger"])
    assert store.labels("price") == {"champion": 1, "challenger": 2}


def test_progress_adds_up_to_the_bytes_copied(root: Path, draft: Drafts) -> None:
    chunks: list[int] = []
    manifest = publish(root, draft(), on_progress=chunks.append)
    assert sum(chunks) == sum(entry.size for entry in manifest.files)


def test_verification_sees_the_whole_version_before_anybody_else(root: Path, draft: Drafts) -> None:
    seen: list[object] = []

    def verify(staged: Path, manifest: Manifest) -> None:
        seen.append((staged / "external/weights.bin").read_bytes())
        seen.append([entry.path for entry in manifest.files if (staged / entry.path).is_file()])
        seen.append(DirectoryStore(root).models())

    drafted = draft()
    publish(root, drafted, verify=verify)
    weights = drafted.files["external/weights.bin"].read_bytes()
    assert seen == [weights, ["external/weights.bin", "model.onnx"], ()]


def test_what_verification_refuses_does_not_appear(root: Path, draft: Drafts) -> None:
    def refuse(staged: Path, manifest: Manifest) -> None:
        raise InvalidModelError("the graph is broken")

    with pytest.raises(InvalidModelError, match="the graph is broken"):
        publish(root, draft(), verify=refuse, labels=["champion"])
    assert DirectoryStore(root).models() == ()
    assert workspaces(root) == []


def test_a_file_left_behind_by_verification_keeps_the_version_out(root: Path, draft: Drafts) -> None:
    with pytest.raises(DigestMismatchError, match=r"profile\.json: is not in the manifest"):
        publish(root, draft(), verify=lambda staged, _: (staged / "profile.json").touch())
    assert DirectoryStore(root).models() == ()


def test_a_publisher_that_is_overtaken_takes_the_next_number(root: Path, draft: Drafts) -> None:
    """The one inside publishes while the one outside verifies, and must not take it for dead."""
    inner: list[int] = []
    outer = publish(root, draft(), verify=lambda *_: inner.append(publish(root, draft()).version))
    assert (inner, outer.version) == ([1], 2)
    assert DirectoryStore(root).verify("price", 2) == outer


def test_what_dead_publishers_left_is_removed_by_the_next(root: Path, add: Add) -> None:
    for name, parts in {"locked-once": ["lock"], "young": [], "old": ["lock", "work"]}.items():
        dead = root / ".staging" / name
        dead.mkdir(parents=True)
        for part in parts:
            (dead / part).mkdir() if part == "work" else (dead / part).touch()
    add()
    assert workspaces(root) == []


def test_everything_is_on_disk_before_it_appears(root: Path, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file and directory of the version is synced before the rename, its parent after it, then the labels."""
    add()
    happened: list[tuple[str, Path]] = []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(descriptor: int) -> None:
        real_sync(descriptor)
        happened.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink()))

    def rename(self: Path, target: Path) -> Path:
        wanted = {self, *self.rglob("*")}
        assert wanted <= {path for what, path in happened if what == "sync"}
        assert len(wanted) == 5
        happened.append(("rename", target))
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    add()
    appeared = happened.index(("rename", root / "models/price/2"))
    assert happened[appeared + 1] == ("sync", root / "models/price")


def test_a_file_that_grows_while_it_is_copied_is_described_as_copied(root: Path, draft: Drafts, tmp_path: Path) -> None:
    """The digest is of what was written, not of what the source has become."""
    source = tmp_path / "growing.onnx"
    source.write_bytes(b"x" * 100)
    growing = draft(files={"model.onnx": source})

    def grow(_: int) -> None:
        source.write_bytes(b"other" * 50)

    publish(root, growing, on_progress=grow)
    DirectoryStore(root).verify("price", 1)


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"model": "../up"}, InvalidNameError, "model '../up' is not allowed"),
        ({"files": {}}, InvalidModelError, "needs a file named model.onnx; there is none"),
        ({"files": {"model.onnx": Path("/nowhere/m.onnx")}}, InvalidModelError, "/nowhere/m.onnx: no such file"),
        ({"files": {"model.onnx": Path("/")}}, InvalidModelError, "no such file"),
        ({"lineage": Lineage(metrics={"rmse": float("nan")})}, InvalidManifestError, "'rmse' is nan"),
        ({"signature": NAN_DEFAULT}, InvalidManifestError, "NaN or infinite defaults"),
        ({"owner": "\ud800"}, InvalidManifestError, "cannot be written as JSON"),
    ],
)
def test_a_bad_draft_is_refused_before_the_store_is_touched(
    root: Path, draft: Drafts, fields: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        publish(root, draft(**fields))
    assert not root.exists()


def test_no_file_is_copied_out_of_the_version(root: Path, draft: Drafts) -> None:
    files = draft().files
    for path in ("../out", "/abs", "a/../../out", "manifest.json"):
        with pytest.raises(InvalidManifestError, match="path"):
            publish(root, draft(files=files | {path: files["model.onnx"]}))
    assert not root.exists()


@pytest.mark.parametrize("created_at", ["yesterday", "2026-11-23T10:00:00"])
def test_a_time_without_a_place_on_earth_is_refused(root: Path, draft: Drafts, created_at: str) -> None:
    with pytest.raises(InvalidManifestError, match=r"\$.created_at"):
        publish(root, draft(), created_at=created_at)


def test_a_bad_label_is_refused_before_publishing(root: Path, draft: Drafts) -> None:
    with pytest.raises(InvalidNameError):
        publish(root, draft(), labels=["champion", "7"])
    assert not root.exists()


def test_that_a_version_is_there_is_said_where_its_label_fails(
    root: Path, add: Add, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreError("cannot write labels.json: no space left")

    monkeypatch.setattr(BlobStore, "set_label", full)
    with pytest.raises(StoreError) as caught:
        add(labels=["champion"])
    assert caught.value.message == (
        "price version 1 is published, and its labels are not all set: cannot write labels.json: no space left"
    )
    assert store.versions("price") == (1,)


def test_unreadable_labels_are_noticed_before_publishing(root: Path, add: Add, store: BlobStore) -> None:
    add()
    (root / "models/price/labels.json").write_text("{")
    with pytest.raises(StoreError, match=r"price/labels\.json"):
        add(labels=["champion"])
    assert store.versions("price") == (1,)


def test_a_store_that_cannot_be_written_says_so_plainly(tmp_path: Path, draft: Drafts) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot write to the store: ") as caught:
        publish(tmp_path / "file", draft())
    assert caught.value.place.startswith(str(tmp_path / "file"))


# ---------------------------------------------------------------- the champion


def test_a_models_first_version_is_its_champion_and_no_later_one(store: BlobStore, add: Add) -> None:
    add(champion=True)
    assert store.labels("price") == {"champion": 1}
    add(champion=True, labels=["challenger"])
    assert store.labels("price") == {"champion": 1, "challenger": 2}


def test_who_said_not_to_label_it_gets_no_champion_then_nor_later(store: BlobStore, add: Add) -> None:
    add()
    add(champion=True)
    assert store.labels("price") == {}


def test_of_two_first_versions_one_is_the_champion(store: BlobStore, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second appears while the first has its number and is not there yet."""
    appear = publishing._appear

    def overtaken(blobs: Any, staged: Path, manifest: Manifest) -> Manifest:
        monkeypatch.setattr(publishing, "_appear", appear)
        number = publishing._claim(blobs, manifest.model, 0)
        assert (number, add(champion=True).version) == (1, 2)
        shown = publishing._numbered(staged, manifest, number)
        assert blobs.put_tree_if_absent("models/price/1", staged, "manifest.json")
        return shown

    monkeypatch.setattr(publishing, "_appear", overtaken)
    assert add(champion=True).version == 1
    assert store.labels("price") == {"champion": 2}
