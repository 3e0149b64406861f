"""Of several who change one blob nothing is lost, and each is in the audit."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.blobs.memory import MemoryBlobs
from tests.store.interleaving import Interleaving
from turnout_server.store.audit import Audit, By
from turnout_server.store.changing import change
from turnout_server.vocabulary.errors import StaleWriteError


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
