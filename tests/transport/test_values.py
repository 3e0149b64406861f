"""Whatever protobuf makes of a message was counted before."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import example, given
from hypothesis import strategies as st

from tests.engine.wires import rewrite
from tests.transport.fakes import Behaviour, echo, echo_each
from turnout import v1 as turnout_pb
from turnout_server.config import LimitsConfig
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.transport.grpcio import GrpcioTransport
from turnout_server.transport.values import MESSAGE, UNCOUNTED, VARINTS, Shape, Values, count, shape_of

SHAPE = shape_of(pb.ModelInferRequest.DESCRIPTOR)
ALL = 1 << 30
GROUP = bytes([15 << 3 | 3, 5 << 3 | 2, 1, 0xFF, 15 << 3 | 4])
"""An unknown group, in which field 5 is no message."""


def held(message: Message) -> int:
    """Return how many values protobuf has made of a message."""
    found = 0
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"].message_type
            # An entry without a value has an empty one, which nobody sent.
            found += sum(MESSAGE + (held(value[key]) if inner else 0) for key in value)
        elif field.message_type is not None:
            found += sum(MESSAGE + held(one) for one in (value if field.is_repeated else [value]))
        elif field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
            found += 1
        else:
            found += len(value) if field.is_repeated else 1
    return found


def request() -> pb.ModelInferRequest:
    """Return a request with something of everything."""
    made = pb.ModelInferRequest(model_name="m", raw_input_contents=[b"", b"ab"])
    made.parameters["unit_id"].string_param = "u"
    contents = pb.InferTensorContents(
        bool_contents=[True, False],
        int_contents=[1, -1],
        int64_contents=[1 << 40],
        uint_contents=[300] * 5,
        fp32_contents=[1.0] * 50,
        bytes_contents=[b"", b"x"],
    )
    made.inputs.add(name="a", datatype="INT32", shape=[1, 2, 300], contents=contents)
    made.outputs.add(name="y").parameters["classification"].int64_param = 1
    return made


def test_a_request_counts_as_what_is_in_it() -> None:
    wire = request().SerializeToString()
    messages = 2 + 1 + 1 + 1 + 2  # a parameter is an entry and a value
    fields = 1 + 2 + 2 + 3 + 5 + 2 + 1 + 2
    numbers = 3 + 2 + 2 + 1 + 5
    assert count(wire, SHAPE, ALL) == messages * MESSAGE + fields + numbers
    for most in range(0, messages * MESSAGE + fields + numbers, 7):
        assert count(wire, SHAPE, most) == most + 1


@given(wire=st.binary(max_size=60) | st.randoms().map(lambda dice: rewrite(request().SerializeToString(), dice)))
@example(wire=GROUP + pb.ModelInferRequest(inputs=[{}] * 9).SerializeToString())
@example(wire=b"\x22\x00")
@example(wire=b"\x2d\x00\x00\x00\x00\x2a\x00")
@example(wire=b"\x2a\x80\x80\x00\x2a\x00")
def test_no_less_is_counted_than_protobuf_makes(wire: bytes) -> None:
    try:
        made = held(pb.ModelInferRequest.FromString(wire))
    except DecodeError:
        return
    assert count(wire, SHAPE, ALL) >= made


def test_shapes_follow_messages_into_each_other() -> None:
    shape: Shape = shape_of(turnout_pb.RankRequest.DESCRIPTOR)
    wire = turnout_pb.RankRequest(
        candidate_features=[turnout_pb.FeatureColumn(name="a", integers=turnout_pb.IntegerValues(values=range(9)))],
        candidate_ids=["x"] * 9,
    ).SerializeToString()
    assert count(wire, shape, ALL) == 2 * MESSAGE + 2 + 9 + 9
    assert VARINTS in {place for fields in shape for place in fields.values()}


def large(values: int) -> bytes:
    """Return a message of so many values, as a message that has no fields counts, which is long enough to count."""
    return b"\x08\x00" * values + b"\x12\x81\x80\x04" + bytes(UNCOUNTED + 1)


@pytest.mark.parametrize("most", [9, 10])
async def test_over_grpcio_what_holds_too_much_is_refused(most: int) -> None:
    behaviour = Behaviour()
    method = behaviour.unary("Echo", echo)
    behaviour.both_stream("EchoEach", echo_each).shape = method.shape = ({},)
    transport = GrpcioTransport(behaviour.as_methods, LimitsConfig(max_message_values=most))
    port = await transport.start("127.0.0.1", 0)
    message = large(9)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        unary: Any = channel.unary_unary("/test.Fake/Echo")
        each: Any = channel.stream_stream("/test.Fake/EchoEach")
        assert len(await unary(b"\x08\x00" * 20)) == 40  # too short to be counted
        if most == 10:
            assert await unary(message) == message
            assert [one async for one in each(iter([message]))] == [message]
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await unary(message)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "more than 9 values" in (caught.value.details() or "")
            assert len(method.calls) == 1
            with pytest.raises(grpc.aio.AioRpcError):
                assert [one async for one in each(iter([message]))] == []
    await transport.say_goodbye()


async def test_counting_leaves_the_event_loop_to_others() -> None:
    """It is done in a thread: something else that is due has been done when it is over."""
    values, seen = Values(1 << 40), []
    asyncio.get_running_loop().call_soon(seen.append, 1)
    await values.check(large(1), ({},))
    assert seen == [1]
    values.close()


def test_random_requests_count_the_same_however_they_are_cut() -> None:
    """A message is what its parts are."""
    dice = random.Random(1)
    wires = [rewrite(request().SerializeToString(), dice) for _ in range(50)]
    whole = [wire for wire in wires if _reads(wire)]
    assert len(whole) > 5
    assert count(b"".join(whole), SHAPE, ALL) == sum(count(wire, SHAPE, ALL) for wire in whole)


def _reads(wire: bytes) -> bool:
    try:
        pb.ModelInferRequest.FromString(wire)
    except DecodeError:
        return False
    return True
