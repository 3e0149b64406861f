"""Decoding of header blocks, against `hpack`'s encoder and decoder."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder, HPACKError
from hpack.struct import HeaderTuple, NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.http2.codes import ConnectionFailure, ErrorCode, StreamFailure
from turnout_server.http2.fields import MALFORMED, TABLE_SIZE, Field, FieldDecoder, field_of

LIMIT = 16 * 1024
GET = b"\x82"
"""An indexed field of the static table: `:method: GET`."""
MARK = [("mark", "1")]

VALUES = st.one_of(st.sampled_from(["", "1", "trailers", "v" * 1000, "w" * 4050]), st.text("abcXYZ0129 é", max_size=30))
FIELDS = st.tuples(
    st.sampled_from([":path", ":method", "te", "x", "user-agent", "trace", "n" * 70]),
    VALUES.map(lambda value: value.strip()),
    st.sampled_from([HeaderTuple, HeaderTuple, NeverIndexedHeaderTuple]),
)
BLOCKS = st.tuples(st.lists(FIELDS, max_size=8), st.booleans(), st.none() | st.integers(0, TABLE_SIZE))
"""Fields, whether strings are to be Huffman-coded, and a new size for the table before them."""


class Builder:
    """Makes nothing of fields, and counts how often."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, fields: list[Field]) -> list[Field]:
        self.made += 1
        return list(fields)


def decoder(limit: int = LIMIT) -> FieldDecoder[list[Field]]:
    return FieldDecoder(Builder(), limit)


@given(st.lists(BLOCKS, max_size=8), st.data())
def test_what_another_encoder_wrote_is_read(
    blocks: list[tuple[list[tuple[str, str, type[HeaderTuple]]], bool, int | None]], data: st.DataObject
) -> None:
    """Whatever is in the table, comes and goes in it, and was seen before."""
    encoder, ours = Encoder(), decoder(100_000)
    for fields, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode([kind(name, value) for name, value, kind in fields], huffman=huffman)
        expected = [(name, value) for name, value, _ in fields]
        assert (ours.decode(block) if data.draw(st.booleans()) else ours.fields(block)) == expected


PIECES = st.one_of(
    st.integers(0x80, 0xFF).map(lambda byte: bytes((byte,))),
    st.sampled_from([b"\x40\x01a\x01b", b"\x40\x01c\x82\x1f\xff", b"\x41\x02xy", b"\x00\x01a\x7f\x01" + b"v" * 128]),
    st.sampled_from(
        [b"\x20", b"\x3f\x01", b"\x3f\xe1\x1f", b"\x3f\xe2\x1f", b"\xff\x80\x00", b"\x7e\x00", b"\x0f\x2f"]
    ),
    st.sampled_from([b"\x40\x03big\x7f\xa1\x1e" + b"b" * 4000]),
    st.binary(max_size=3),
)


@given(st.lists(st.lists(PIECES, max_size=10).map(b"".join), max_size=6))
def test_any_bytes_are_what_they_are_to_another_decoder(blocks: list[bytes]) -> None:
    """Both take them for the same fields, or both for none."""
    theirs, ours = Decoder(), decoder(1 << 30)
    theirs.max_header_list_size = 1 << 30
    for block in blocks:
        try:
            expected = [field_of(bytes(name), bytes(value)) for name, value in theirs.decode(block, raw=True)]
        except HPACKError:
            with pytest.raises(ConnectionFailure):
                ours.fields(block)
            return
        assert ours.fields(block) == expected


@given(st.lists(st.binary(max_size=200)))
def test_no_bytes_raise_anything_but_a_failure_of_the_connection(blocks: list[bytes]) -> None:
    ours = decoder(256)
    try:
        for block in blocks:
            ours.decode(block)
    except ConnectionFailure as failure:
        assert failure.code in (ErrorCode.COMPRESSION_ERROR, ErrorCode.ENHANCE_YOUR_CALM)  # noqa: PT017


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x80", id="index 0"),
        pytest.param(b"\xbe", id="an index past the table"),
        pytest.param(b"\x7e\x01v", id="a name past the table"),
        pytest.param(b"\xff", id="an index that is cut off"),
        pytest.param(b"\x00\x01a\x7f" + b"\x80" * 5 + b"\x00" + b"v" * 127, id="an integer that is too long"),
        pytest.param(b"\x40", id="a literal without a name"),
        pytest.param(b"\x40\x02a", id="a name that is cut off"),
        pytest.param(b"\x40\x01a", id="a literal without a value"),
        pytest.param(b"\x40\x01a\x7f\xff\xff\xff\xff\x0fv", id="a value that is cut off"),
        pytest.param(b"\x40\x01a\x81\xfe", id="a value that is not Huffman code"),
        pytest.param(b"\x3f\xe2\x1f", id="a table that is too large"),
        pytest.param(GET + b"\x20", id="a table size after a field"),
        pytest.param(
            b"\x00\x01a\x7f\xa1\x1f" + b"v" * 4128 + b"\x20", id="a table size after a field beyond the limit"
        ),
    ],
)
def test_a_malformed_block_fails_the_connection(block: bytes) -> None:
    with pytest.raises(ConnectionFailure) as caught:
        decoder(4096).decode(block)
    assert caught.value.code is ErrorCode.COMPRESSION_ERROR


# ---------------------------------------------------------------- blocks seen before


def test_an_equal_block_is_made_into_something_once() -> None:
    build = Builder()
    ours = FieldDecoder(build, LIMIT)
    ours.fields(b"\x40\x01a\x011")  # whatever was before
    assert ours.decode(GET) is ours.decode(GET)
    assert build.made == 1


def test_a_block_that_changes_the_table_is_decoded_each_time() -> None:
    build = Builder()
    ours = FieldDecoder(build, LIMIT)
    block = Encoder().encode(MARK)
    for _ in range(3):
        assert ours.decode(block) == MARK
    assert build.made == 3
    assert ours.fields(b"\xc0") == MARK  # the third of the three entries it made
    with pytest.raises(ConnectionFailure):
        ours.fields(b"\xc1")


@pytest.mark.parametrize("skipped", [False, True])
def test_what_a_block_said_is_forgotten_when_the_table_changes(skipped: bool) -> None:
    """The same bytes then name another entry, whoever wanted the block that changed it."""
    ours = decoder()
    first, second = b"\x40\x01a\x011", b"\x40\x01b\x012"
    ours.fields(first)
    assert ours.decode(b"\xbe") == [("a", "1")]
    (ours.fields if skipped else ours.decode)(second)
    assert ours.decode(b"\xbe") == [("b", "2")]
    ours.fields(b"\x20")
    with pytest.raises(ConnectionFailure):
        ours.decode(b"\xbe")


def test_what_could_not_be_made_is_not_remembered_and_changed_the_table() -> None:
    def refuse(fields: list[Field]) -> list[Field]:
        raise StreamFailure(ErrorCode.PROTOCOL_ERROR, "no")

    ours = FieldDecoder(refuse, LIMIT)
    for _ in range(2):
        with pytest.raises(StreamFailure):
            ours.decode(b"\x40\x01a\x011")
    assert ours.fields(b"\xbe\xbf") == [("a", "1"), ("a", "1")]


def test_only_so_many_blocks_are_remembered_and_no_large_ones() -> None:
    """What is forgotten is made again, and what is made again counts."""
    build = Builder()
    ours = FieldDecoder(build, LIMIT)
    blocks = [b"\x00\x01a\x02%02d" % number for number in range(65)]
    for block in blocks:
        ours.decode(block)
    ours.decode(blocks[-1])
    assert build.made == 65
    ours.decode(blocks[0])
    assert build.made == 66
    large = b"\x00\x01a\x7f\x89\x07" + b"v" * 1032
    for _ in range(2):
        assert ours.decode(large) == [("a", "v" * 1032)]
    assert build.made == 68


# ---------------------------------------------------------------- limits


def test_a_list_of_fields_counts_as_the_setting_does() -> None:
    """Names, values, and 32 bytes for each field."""
    block = b"\x00\x01a\x03xyz" * 2
    assert decoder(72).decode(block) == [("a", "xyz")] * 2
    assert decoder(71).decode(block) is None
    assert decoder(71).fields(block) is None


def test_what_is_beyond_the_limit_changes_the_table_all_the_same() -> None:
    ours, theirs = decoder(1000), Encoder()
    assert ours.decode(theirs.encode([("x", "v" * 2000)])) is None
    assert ours.decode(theirs.encode(MARK)) == MARK
    assert ours.decode(theirs.encode(MARK)) == MARK


@pytest.mark.parametrize(("times", "bomb"), [(32, False), (33, True)])
def test_a_bomb_fails_the_connection(times: int, bomb: bool) -> None:
    """A large entry, named again and again by one byte: eight times the limit is read, and no more."""
    ours = decoder(LIMIT)
    ours.decode(b"\x40\x01a\x7f\xc1\x1e" + b"v" * 4032)
    if not bomb:
        assert ours.decode(b"\xbe" * times) is None
        return
    with pytest.raises(ConnectionFailure) as caught:
        ours.decode(b"\xbe" * times)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_the_table_holds_so_many_bytes_and_what_came_first_goes_first() -> None:
    ours = decoder()
    for number in range(200):
        assert ours.fields(b"\x40\x01a\x07%07d" % number) == [("a", f"{number:07}")]
    held = TABLE_SIZE // 40
    assert ours.fields(b"\xbe") == [("a", "0000199")]
    assert ours.fields(b"\xff" + bytes((61 + held - 0x7F,))) == [("a", f"{200 - held:07}")]
    with pytest.raises(ConnectionFailure):
        ours.fields(b"\xff" + bytes((62 + held - 0x7F,)))


# ---------------------------------------------------------------- fields


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        (b"x", b"1", ("x", "1")),
        (b":path", b"/", (":path", "/")),
        (b"x", b"", ("x", "")),
        (b"x", b"a \t b", ("x", "a \t b")),
        (b"x", "é".encode(), ("x", "é")),
        (b"x", b"\xe9", ("x", "é")),
    ],
)
def test_a_field_is_text(name: bytes, value: bytes, field: tuple[str, str]) -> None:
    """In UTF-8, or else in Latin-1."""
    assert field_of(name, value) == field


@pytest.mark.parametrize("name", [b"", b":", b"X", b"a b", b"a:b", b"a\n", b"\x00", b"\xff", b"x\x7f"])
def test_a_name_has_only_some_characters(name: bytes) -> None:
    assert field_of(name, b"1") is MALFORMED


@pytest.mark.parametrize("value", [b"a\0", b"a\rb", b"\n", b" a", b"a ", b"\ta", b"a\t", b" "])
def test_a_value_lacks_some_characters(value: bytes) -> None:
    assert field_of(b"x", value) is MALFORMED
