"""Huffman-coded strings, against `hpack`'s own decoder and encoder."""

from __future__ import annotations

import pytest
from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import example, given
from hypothesis import strategies as st

from turnout_server.http2 import huffman

ENCODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def theirs(coded: bytes) -> bytes | None:
    try:
        return bytes(decode_huffman(coded))
    except HPACKDecodingError:
        return None


@given(st.binary())
@example(bytes(range(256)))
def test_any_string_comes_back(text: bytes) -> None:
    assert huffman.decode(ENCODER.encode(text)) == text


@given(st.binary())
def test_any_bytes_are_what_they_are_to_another_decoder(coded: bytes) -> None:
    assert huffman.decode(coded) == theirs(coded)


@given(st.binary(min_size=1), st.data())
def test_a_spoilt_string_is_what_it_is_to_another_decoder(text: bytes, data: st.DataObject) -> None:
    """Random bytes seldom come far; these are valid up to some bit."""
    coded = bytearray(ENCODER.encode(text))
    bit = data.draw(st.integers(0, 8 * len(coded) - 1))
    coded[bit // 8] ^= 1 << bit % 8
    del coded[data.draw(st.integers(0, len(coded))) :]
    assert huffman.decode(bytes(coded)) == theirs(bytes(coded))


@pytest.mark.parametrize(
    "coded",
    [
        pytest.param(b"\x18", id="padded with zeros"),
        pytest.param(b"\x1f\xff", id="padded with more than seven bits"),
        pytest.param(b"\xff\xff\xff\xff", id="the end of the string, as a symbol"),
        pytest.param(b"\xff\xff\xff\xfc\x00", id="that symbol, and more"),
        pytest.param(b"\xfe", id="in the middle of a symbol"),
    ],
)
def test_what_is_not_the_code_is_no_string(coded: bytes) -> None:
    assert huffman.decode(coded) is None
