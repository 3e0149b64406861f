"""What names mean to somebody who only looks at a store."""

from __future__ import annotations

from turnout_server.routing.stored import StoredNames
from turnout_server.vocabulary.versions import VersionKey


def test_everything_in_the_store_counts_as_available() -> None:
    names = StoredNames(versions={"price": (1, 3)}, labels={"price": {"champion": 1}})
    assert [names.is_available(VersionKey("price", version)) for version in (1, 2, 3)] == [True, False, True]
    assert (names.newest("price"), names.newest("nothing")) == (3, 0)
    assert names.key_of("price", "champion") == VersionKey("price", 1)


def test_without_a_store_at_hand_every_version_is_taken_to_be_there() -> None:
    names = StoredNames()
    assert names.is_available(VersionKey("any", 7))
    assert names.key_of("any", "champion") == VersionKey("any", 0)
    assert StoredNames(versions={}).key_of("any", "champion") is None
