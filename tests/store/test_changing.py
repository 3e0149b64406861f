"""Of several who change one blob nothing is lost, and each is in the audit."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.blobs.memory import MemoryBlobs
from tests.store.interleaving import Interleaving
from turnout_server.store import removal
from turnout_server.store.audit import Audit, By
from turnout_server.store.changing import change
from turnout_server.store.layout import ROUTES_AUDIT, ROUTES_KEY, manifest_key
from turnout_server.store.manifest import Manifest
from turnout_server.store.store import BlobStore
from turnout_server.vocabulary.errors import StaleWriteError, VersionNotFoundError
from turnout_server.vocabulary.versions import VersionKey


def add(blobs: MemoryBlobs, letter: str) -> None:
    audit = Audit(blobs, blobs)
    change(blobs, blobs, audit, "key", lambda raw: (raw or b"") + letter.encode(), "audit/x", "rollout", letter, By())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_whoever_comes_later_changes_what_the_other_has_left(seed: int) -> None:
    race = Interleaving(Random(seed), lambda: None)
    blobs = MemoryBlobs(race.step)
    assert race.run([lambda letter=letter: add(blobs, letter) for letter in "abcd"]) == [None] * 4
    found = blobs.get("key")
    assert found is not None
    assert sorted(found.content) == sorted(b"abcd")
    done = [noted.entry.action for noted in Audit(blobs, blobs).entries("audit/x") if noted.is_done]
    assert "".join(sorted(done)) == "abcd"


def test_what_changes_nothing_is_not_written() -> None:
    blobs = MemoryBlobs()
    add(blobs, "a")
    before = blobs.get("key")
    change(blobs, blobs, Audit(blobs, blobs), "key", lambda raw: raw or b"", "audit/x", "rollout", "none", By())
    assert blobs.get("key") == before
    assert len(Audit(blobs, blobs).entries("audit/x")) == 1


def test_who_is_always_overtaken_is_told() -> None:
    blobs = MemoryBlobs()

    def overtaken(raw: bytes | None) -> bytes:
        add(blobs, "b")
        return (raw or b"") + b"a"

    with pytest.raises(StaleWriteError, match="key was changed by somebody else 1000 times"):
        change(blobs, blobs, Audit(blobs, blobs), "key", overtaken, "audit/x", "rollout", "a", By())


# ---------------------------------------------------------------- versions that are named


@pytest.fixture
def one(store: BlobStore, add: Callable[..., Manifest]) -> BlobStore:
    """A store with one version."""
    add()
    return store


def write(store: BlobStore) -> None:
    named = [VersionKey("price", 1)]
    change(
        store.blobs, store.blobs, store.audit, ROUTES_KEY, lambda _: b"new", ROUTES_AUDIT, "routes", "new", By(), named
    )


def present(store: BlobStore) -> bytes | None:
    blob = store.blobs.get(ROUTES_KEY)
    return None if blob is None else blob.content


def test_who_names_a_version_stops_its_removal(one: BlobStore) -> None:
    tag = removal.begin(one.blobs, "price", 1, "audit/1")
    write(one)
    assert tag is not None
    assert not removal.settle(one.blobs, "price", 1, tag, "audit/1")
    assert present(one) == b"new"


@pytest.mark.parametrize("is_decided", [True, False])
def test_what_names_a_version_that_is_gone_is_not_written(one: BlobStore, is_decided: bool) -> None:
    if is_decided:
        tag = removal.begin(one.blobs, "price", 1, "audit/1")
        assert tag is not None
        assert removal.settle(one.blobs, "price", 1, tag, "audit/1")
    else:
        one.blobs.delete(manifest_key("price", 1))
    with pytest.raises(VersionNotFoundError):
        write(one)
    assert present(one) is None
    assert one.audit.entries(ROUTES_AUDIT) == ()
