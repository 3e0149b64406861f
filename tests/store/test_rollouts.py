"""What has been decided about routes is in the store, beside the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.blobs.memory import MemoryBlobs
from turnout_server.store.audit import By
from turnout_server.store.blobs import Blobs, Entry
from turnout_server.store.layout import rollout_audit
from turnout_server.store.rollouts import Stored
from turnout_server.store.store import BlobStore
from turnout_server.vocabulary.errors import InvalidNameError, StoreError

ADA = By("ada@laptop", "turnout experiment ramp")


def test_what_is_decided_is_found_again_and_has_an_author(store: BlobStore) -> None:
    assert store.rollouts.get("price") is None
    assert store.snapshot().rollouts == {}
    store.rollouts.change("price", lambda raw: b"1", "to 1", ADA)
    store.rollouts.change("price", lambda raw: (raw or b"") + b"2", "to 2", ADA)
    assert store.rollouts.get("price") == b"12"
    assert store.snapshot().rollouts == {"price": Stored(b"12")}
    noted = store.audit.entries(rollout_audit("price"))
    assert [(each.entry.action, each.entry.who, each.is_done) for each in noted] == [
        ("to 1", "ada@laptop", True),
        ("to 2", "ada@laptop", True),
    ]
    assert store.audit.content(noted[-1].entry.before or "") == b"1"


def test_files_of_other_names_are_nobodys(store: BlobStore, blobs: Blobs) -> None:
    for key in ("rollouts/price.json", "rollouts/price.yaml", "rollouts/No Name.json", "rollouts/deep/x.json"):
        blobs.put_if_absent(key, b"{}")
    assert set(store.rollouts.read()) == {"price"}
    with pytest.raises(InvalidNameError):
        store.rollouts.get("../models/price")


def test_one_that_cannot_be_read_says_so_and_no_other_does(store: BlobStore, root: Path) -> None:
    (root / "rollouts").mkdir()
    (root / "rollouts/gone.json").symlink_to("nowhere")
    (root / "rollouts/pipe.json").mkdir()
    (root / "rollouts/price.json").write_bytes(b"{}")
    found = store.snapshot().rollouts
    assert found is not None
    assert found["price"] == Stored(b"{}")
    assert found["gone"].problem == "it went away, or leads nowhere"
    assert found["pipe"].problem.startswith("cannot read rollouts/pipe.json")


class Unlisted(MemoryBlobs):
    """Whose rollouts cannot be listed."""

    def list(self, folder: str, marker: str = "") -> tuple[Entry, ...] | None:
        if folder == "rollouts":
            raise StoreError("cannot list rollouts: Input/output error")
        return super().list(folder, marker)


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one() -> None:
    assert BlobStore(MemoryBlobs()).snapshot().rollouts == {}
    assert BlobStore(Unlisted()).snapshot().rollouts is None
