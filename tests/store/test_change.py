"""A change names what is there, or it does not come about, and then nothing tells that it did."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from turnout_server.store import removal
from turnout_server.store.change import Account, Changes
from turnout_server.store.layout import ROUTES_AUDIT, ROUTES_KEY, manifest_key
from turnout_server.store.manifest import Manifest
from turnout_server.store.store import BlobStore, By
from turnout_server.vocabulary.errors import StaleWriteError, VersionNotFoundError
from turnout_server.vocabulary.versions import VersionKey

Add = Callable[..., Manifest]
ACCOUNT = Account(ROUTES_AUDIT, "routes", "replaced", By("ada"))
NAMED = (VersionKey("price", 1),)


@pytest.fixture
def changes(store: BlobStore, add: Add) -> Changes:
    """Changes of a store with one version."""
    add()
    return Changes(store.blobs, store.blobs, store.audit)


def present(store: BlobStore) -> bytes | None:
    blob = store.blobs.get(ROUTES_KEY)
    return None if blob is None else blob.content


def test_who_names_a_version_stops_its_removal(store: BlobStore, changes: Changes) -> None:
    tag = removal.begin(store.blobs, "price", 1, "audit/1")
    changes.make(ROUTES_KEY, lambda _: b"new", ACCOUNT, NAMED)
    assert tag is not None
    assert not removal.settle(store.blobs, "price", 1, tag, "audit/1")
    assert present(store) == b"new"


@pytest.mark.parametrize("is_decided", [True, False])
def test_what_names_a_version_that_is_gone_is_not_written(store: BlobStore, changes: Changes, is_decided: bool) -> None:
    if is_decided:
        tag = removal.begin(store.blobs, "price", 1, "audit/1")
        assert tag is not None
        assert removal.settle(store.blobs, "price", 1, tag, "audit/1")
    else:
        store.blobs.delete(manifest_key("price", 1))
    with pytest.raises(VersionNotFoundError):
        changes.make(ROUTES_KEY, lambda _: b"new", ACCOUNT, NAMED)
    assert present(store) is None
    assert store.audit.entries(ROUTES_AUDIT) == ()


def test_who_is_always_overtaken_gives_up_and_leaves_no_entry(
    store: BlobStore, changes: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout_server.store.change.ATTEMPTS", 3)
    put = type(store.blobs).put_if_match
    store.blobs.put_if_absent(ROUTES_KEY, b"0")

    def overtaken(self: object, key: str, content: bytes, tag: str) -> bool:
        return put(self, key, content, "no such tag")  # type: ignore[arg-type]

    monkeypatch.setattr(type(store.blobs), "put_if_match", overtaken)
    with pytest.raises(StaleWriteError, match=r"routes\.yaml was changed by somebody else 3 times"):
        changes.make(ROUTES_KEY, lambda _: b"new", ACCOUNT)
    assert store.audit.entries(ROUTES_AUDIT) == ()


def test_what_is_there_already_is_not_written_again(store: BlobStore, changes: Changes) -> None:
    changes.make(ROUTES_KEY, lambda _: b"new", ACCOUNT)
    changes.make(ROUTES_KEY, lambda raw: raw or b"", ACCOUNT)
    assert len(store.audit.entries(ROUTES_AUDIT)) == 1
