"""What labels.json may say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.store.labels import decode_labels, encode_labels
from turnout_server.vocabulary.errors import StoreError

LABELS = st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True), st.integers(1, 10**12))


@given(LABELS)
def test_what_was_written_is_read(labels: dict[str, int]) -> None:
    assert decode_labels(encode_labels(labels), "price") == labels


def test_no_file_is_no_labels() -> None:
    assert decode_labels(None, "price") == {}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'{"champion": 0}',
        b'{"champion": 9223372036854775808}',
        b'{"champion": "3"}',
        b'{"7": 3}',
        b'{"..": 3}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_anything_else_names_the_file_and_says_how_it_should_look(raw: bytes) -> None:
    with pytest.raises(StoreError, match=r'price/labels\.json: .*it should look like \{"champion": 3\}'):
        decode_labels(raw, "price")
