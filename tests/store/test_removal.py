"""A removal is decided once, by whoever is first, and a mark that nobody can read decides nothing."""

from __future__ import annotations

import pytest

from turnout_server.store.blobs import Blobs
from turnout_server.store.removal import begin, end, keep, settle, under_way
from turnout_server.vocabulary.errors import StoreError


def begun(blobs: Blobs, announced: str = "audit/1") -> str:
    tag = begin(blobs, "price", 3, announced)
    assert tag is not None
    return tag


def test_what_was_begun_is_decided_once(blobs: Blobs) -> None:
    tag = begun(blobs)
    assert under_way(blobs, "price") == {3: "audit/1"}
    assert settle(blobs, "price", 3, tag, "audit/1")
    assert not settle(blobs, "price", 3, tag, "audit/1")
    assert not keep(blobs, "price", 3)
    assert begin(blobs, "price", 3, "audit/2") is None
    end(blobs, "price", 3)
    assert under_way(blobs, "price") == {}


def test_who_keeps_a_version_stops_all_who_remove_it(blobs: Blobs) -> None:
    tag, same = begun(blobs), begun(blobs, "audit/2")
    assert tag == same, "the second one joins the first"
    assert keep(blobs, "price", 3)
    assert not settle(blobs, "price", 3, tag, "audit/1")
    assert under_way(blobs, "price") == {3: ""}


def test_what_was_stopped_does_not_end_by_a_later_removal(blobs: Blobs) -> None:
    """Who looked before somebody kept the version has not seen who named it."""
    tag = begun(blobs)
    assert keep(blobs, "price", 3)
    later = begun(blobs, "audit/2")
    assert not settle(blobs, "price", 3, tag, "audit/1")
    assert settle(blobs, "price", 3, later, "audit/2")


def test_of_what_is_not_being_removed_nothing_is_kept(blobs: Blobs) -> None:
    assert keep(blobs, "price", 3)
    assert under_way(blobs, "price") == {}


def test_a_mark_that_nobody_can_read_is_told(blobs: Blobs) -> None:
    blobs.put_if_absent("models/price/.removals/3", b"what?")
    for asked in (lambda: begun(blobs), lambda: keep(blobs, "price", 3), lambda: under_way(blobs, "price")):
        with pytest.raises(StoreError, match=r"\.removals/3 cannot be read: found b'what\?'"):
            asked()
