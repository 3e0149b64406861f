"""Messages out of pieces of any size, and compressed ones."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
import zlib

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transport.native.wire import prefixed
from turnout_server.transport.native.messages import Message, MessageError, MessageReader, inflated

LIMIT = 5_000
COMPRESS = {"gzip": gzip.compress, "deflate": zlib.compress}


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return *data* in pieces, cut at *places* (taken modulo its length)."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(
    st.lists(st.tuples(st.booleans(), st.one_of(st.binary(max_size=50), st.just(b"x" * 1500), st.just(b"y" * LIMIT)))),
    st.lists(st.integers(0, 2**20)),
)
def test_messages_may_be_cut_anywhere(messages: list[tuple[bool, bytes]], places: list[int]) -> None:
    reader = MessageReader(LIMIT)
    got: list[Message] = []
    for piece in cut(b"".join(prefixed(payload, compressed) for compressed, payload in messages), places):
        if piece:
            got += reader.feed(piece)
    assert got == messages
    assert all(type(message.payload) is bytes for message in got)
    assert reader.between


@given(st.binary(max_size=40), st.integers(0, 44))
def test_what_is_missing_is_known_once_the_prefix_is_there(payload: bytes, have: int) -> None:
    reader = MessageReader(LIMIT)
    wire = prefixed(payload)
    have = min(have, len(wire) - 1)
    for at in range(have):
        assert reader.feed(wire[at : at + 1]) == []
    assert reader.between == (have == 0)
    assert reader.missing == (len(wire) - have if have >= 5 else 0)


def test_a_message_of_one_byte_pieces_takes_little_more_than_its_size() -> None:
    size = 50_000
    reader = MessageReader(size)
    reader.feed(prefixed(b"x" * size)[:5])
    tracemalloc.start()
    try:
        for _ in range(size - 1):
            reader.feed(bytes(bytearray(1)))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 2 * size
    assert len(reader.feed(b"x")[0].payload) == size


def test_a_message_over_the_limit_is_refused_by_its_prefix() -> None:
    reader = MessageReader(LIMIT)
    assert len(reader.feed(prefixed(b"x" * LIMIT))) == 1
    with pytest.raises(MessageError, match=f"larger than max .{LIMIT + 1} vs. {LIMIT}") as caught:
        reader.feed(prefixed(b"x" * (LIMIT + 1))[:5])
    assert caught.value.status.code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("flag", [2, 128, 255])
def test_a_flag_that_is_neither_0_nor_1_is_refused(flag: int) -> None:
    with pytest.raises(MessageError, match=f"begins with {flag}; expected 0 or 1") as caught:
        MessageReader(LIMIT).feed(prefixed(b"", flag))
    assert caught.value.status.code is grpc.StatusCode.INTERNAL


@given(st.sampled_from(sorted(COMPRESS)), st.binary(max_size=LIMIT))
def test_compressed_messages_come_out_as_they_were(encoding: str, message: bytes) -> None:
    assert inflated(COMPRESS[encoding](message), encoding, LIMIT) == message


@pytest.mark.parametrize("encoding", sorted(COMPRESS))
def test_the_limit_holds_for_what_comes_out(encoding: str) -> None:
    assert len(inflated(COMPRESS[encoding](b"x" * LIMIT), encoding, LIMIT)) == LIMIT
    with pytest.raises(MessageError) as caught:
        inflated(COMPRESS[encoding](b"x" * (LIMIT + 1)), encoding, LIMIT)
    assert caught.value.status.code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("encoding", sorted(COMPRESS))
def test_a_bomb_is_not_unpacked_beyond_the_limit(encoding: str) -> None:
    bomb = COMPRESS[encoding](bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(MessageError):
            inflated(bomb, encoding, 100_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@given(st.sampled_from(sorted(COMPRESS)), st.binary(min_size=1, max_size=200), st.data())
def test_half_a_compressed_message_is_no_message(encoding: str, message: bytes, data: st.DataObject) -> None:
    whole = COMPRESS[encoding](message)
    with pytest.raises(MessageError) as caught:
        inflated(whole[: data.draw(st.integers(0, len(whole) - 1))], encoding, LIMIT)
    assert caught.value.status.code is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_not_compressed_as_said_is_refused(encoding: str) -> None:
    with pytest.raises(MessageError, match=f"not valid {encoding}"):
        inflated(b"something else altogether", encoding, LIMIT)


def test_a_compressed_message_needs_an_encoding() -> None:
    with pytest.raises(MessageError, match="grpc-encoding does not say how"):
        inflated(b"", "identity", LIMIT)
