"""What was written once and changed since is not believed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from turnout_server.experiments.seal import opened, sealed
from turnout_server.vocabulary.errors import StoreError


class Thing(msgspec.Struct, frozen=True):
    name: str
    size: float = 1.0
    more: dict[str, Any] = {}


class Later(Thing, frozen=True):
    """The same, of a version that knows more."""

    colour: str = "red"


THING = Thing("a", 0.1, {"b": [1, 2], "a": None})


def test_what_was_sealed_is_there_again() -> None:
    assert opened(sealed(THING), Thing, "a.json", must_be_sealed=True) == THING


def test_a_field_that_later_versions_add_breaks_no_seal() -> None:
    assert opened(sealed(THING), Later, "a.json", must_be_sealed=True) == Later(THING.name, THING.size, THING.more)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"a",', b'"b",'), (b"0.1", b"0.2"), (b"2\n", b"3\n"), (b"{\n", b'{"x": 1,'), (b"null", b"0")],
)
def test_whatever_is_changed_shows(old: bytes, new: bytes) -> None:
    content = sealed(THING)
    assert old in content
    with pytest.raises(StoreError, match=r"a\.json was changed: its seal"):
        opened(content.replace(old, new, 1), Thing, "a.json", must_be_sealed=True)


def test_without_a_seal_only_what_is_from_before_is_read() -> None:
    content = msgspec.json.encode(THING)
    assert opened(content, Thing, "a.json", must_be_sealed=False) == THING
    with pytest.raises(StoreError, match="was changed"):
        opened(content, Thing, "a.json", must_be_sealed=True)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"name": 1}', b"\xff"])
def test_what_is_no_such_thing_is_told_with_its_place(content: bytes) -> None:
    with pytest.raises(StoreError, match=r"^a\.json: "):
        opened(content, Thing, "a.json", must_be_sealed=False)
