"""The engine counts a message's values as Python does."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.engine.wires import rewrite
from tests.transport.test_values import GROUP, request
from turnout import v1 as turnout_pb
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.transport.values import count, shape_of

engine = pytest.importorskip("turnout_engine")

INFER = shape_of(pb.ModelInferRequest.DESCRIPTOR)
RANK = shape_of(turnout_pb.RankRequest.DESCRIPTOR)

fields = st.builds(
    lambda number, kind, value: bytes([number << 3 | kind]) + value,
    st.integers(0, 8),
    st.integers(0, 7),
    st.sampled_from([b"", b"\x00", b"\x01\x05", b"\x80\x01", b"\x02\x08\x01", b"\x04\x2a\x02\x12\x00", bytes(8)]),
)
wires = (
    st.binary(max_size=60)
    | st.lists(fields, max_size=30).map(b"".join)
    | st.randoms().map(lambda dice: rewrite(request().SerializeToString(), dice))
)


@given(wire=wires, most=st.integers(0, 200) | st.just(1 << 40))
@example(wire=GROUP + request().SerializeToString(), most=10_000)
@example(wire=b"\x2a\x02\x2a", most=10)
@example(wire=b"\x80" * 9 + b"\x01", most=10)
@example(wire=b"\x80" * 10 + b"\x01", most=10)
@example(wire=b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", most=10)
@example(wire=b"\xfb\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x7c", most=10)
def test_both_count_the_same(wire: bytes, most: int) -> None:
    for shape in (INFER, RANK):
        assert engine.count_values(wire, shape, most) == count(wire, shape, most)


def test_both_give_up_as_deep() -> None:
    wire = b""
    for _ in range(120):
        wire = b"\x0a" + _length(wire) + wire
    endless = [{1: 0}]
    assert engine.count_values(wire, endless, 1 << 30) == count(wire, endless, 1 << 30) > 3000


def test_what_no_shape_is_is_refused() -> None:
    with pytest.raises(ValueError, match="no message of a shape"):
        engine.count_values(b"", [{1: 1}], 1)


def _length(wire: bytes) -> bytes:
    size, found = len(wire), b""
    while size >= 0x80:
        found += bytes([size & 0x7F | 0x80])
        size >>= 7
    return found + bytes([size])


def test_large_messages_are_counted_alike() -> None:
    dice = random.Random(7)
    texts = b"".join(b"\x42" + _length(text) + text for text in (bytes(dice.randrange(300)) for _ in range(5000)))
    wire = b"\x2a" + _length(b"\x2a" + _length(texts) + texts) + b"\x2a" + _length(texts) + texts
    for most in (100, 5032, 5100, 1 << 30):
        assert engine.count_values(wire, INFER, most) == count(wire, INFER, most)
