"""Targets in Python: messages to whole services, through the door, as a caller on either data plane may send them.

`service` is `inference.GRPCInferenceService` with all its methods, `outcomes` is `turnout.v1.OutcomeService`, whose
inbox lasts as long as the process. A call ends with an answer or with a status that was meant; nothing is left of it;
and a neighbour is answered as before.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from fuzz.gateway import MODEL, NOW_S, OBJECT, OBJECT_BYTES, ROUTE, Answered, gateway, run
from fuzz.source import Source, Target, edited
from turnout.v1 import outcome_service_pb2 as outcomes_pb
from turnout_server.rpc.stubs import open_inference_pb2 as oip

_MOST_MESSAGES = 3
"""Of a stream."""
_DEPTH = 3
"""How far messages are within each other in what is made."""
_WORDS = (
    MODEL, ROUTE, "1", "2", "champion", "x", "y", "version", "FP32", "INT64", "BYTES", OBJECT, f"/{OBJECT}", "r", "",
    "../x", "9" * 30, "é" * 300, "\0", "ann", "order", "o-1", "shared_memory_region", "shared_memory_byte_size",
    "shared_memory_offset", "binary_data_output", "unit_id", "priority", "timeout", "sequence_id",
    "triton_enable_empty_final_response",
)  # fmt: skip
_NUMBERS = (0, 1, -1, 2, 4, 8, 10, 4095, 4096, 1 << 31, (1 << 31) - 1, (1 << 53) + 1, (1 << 63) - 1, -(1 << 63))
_FLOATS = (0.0, 1.0, -1.5, 1e308, math.inf, -math.inf, math.nan)
_METADATA: Sequence[Mapping[str, str]] = (
    {},
    {"triton_grpc_error": "true"},
    {"x-turnout-unit": "ann", "x-request-id": "r-1"},
    {"x-turnout-unit": "é" * 2000, "x-request-id": ""},
)
_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}


def service(data: bytes) -> None:
    """Send bytes: the first says which method, the second which metadata; the rest are up to three messages."""
    run(gateway().restore())
    source = Source(data)
    method, metadata = _method(source), source.choose(_METADATA)
    rest = source.raw(len(data))
    if not method.client_streaming:
        _called(method, [rest], metadata)
        return
    cut = len(rest) // _MOST_MESSAGES + 1
    _called(method, [rest[at : at + cut] for at in range(0, len(rest), cut)], metadata)


def service_made(data: bytes) -> None:
    """Make the messages, most of them right; then damage them."""
    run(gateway().restore())
    source = Source(data)
    method, metadata = _method(source), source.choose(_METADATA)
    count = 1 + (source.number(_MOST_MESSAGES) if method.client_streaming else 0)
    made = [_right(method.input_type, source) for _ in range(count)]
    for message in made:
        if source.one_in(2):
            _fill(message, source)
    whole = [message.SerializeToString() for message in made]
    _called(method, whole, metadata)
    _called(method, [edited(source, message) for message in whole], metadata)


def outcomes(data: bytes) -> None:
    """Send bytes as a message of outcomes, twice: then what was taken is there, and what was not is refused again."""
    method = gateway().services["OutcomeService"].methods_by_name["Record"]
    first, second = (_called(method, [data], {}) for _ in range(2))
    try:
        asked = outcomes_pb.RecordRequest.FromString(data)
    except DecodeError:
        assert first.code is grpc.StatusCode.INVALID_ARGUMENT, "it was no message"
        return
    if first.code is not grpc.StatusCode.OK:
        assert first.reason == "REQUEST_INVALID" == second.reason, first.reason
        return
    told, again = (outcomes_pb.RecordResponse.FromString(one.messages[0]).results for one in (first, second))
    assert [one.outcome_id for one in told] == [one.outcome_id for one in asked.outcomes], "answers for others"
    for one, other in zip(told, again, strict=True):
        assert (one.fate == outcomes_pb.OUTCOME_FATE_REJECTED) == bool(one.reason), "a fate without its reason"
        assert other.fate != outcomes_pb.OUTCOME_FATE_ACCEPTED, "it was taken twice"
        if one.reason:
            assert (one.reason, one.message) == (other.reason, other.message), "it was refused in two ways"
        else:
            assert other.fate == outcomes_pb.OUTCOME_FATE_DUPLICATE, "what was taken is not there"


def outcomes_made(data: bytes) -> None:
    """Make outcomes, most of them right; then damage the message."""
    source = Source(data)
    message = outcomes_pb.RecordRequest()
    for _ in range(source.number(6)):
        one = message.outcomes.add(
            outcome_id=source.choose(("o-1", "o-2", "", "o" * 129))
            or source.text().encode("utf-8", "replace").decode(),
            unit=source.choose(("ann", "", "u" * 1025)),
            request_id=source.choose(("", "r-1")),
            name=source.choose(("order", "click", "Order", "a.b", "")),
            value=source.choose(_FLOATS),
        )
        if not source.one_in(8):
            one.event_time.seconds = source.choose((int(NOW_S), 0, int(NOW_S) + 3600, (1 << 63) - 1, -(1 << 63)))
            one.event_time.nanos = source.choose((0, 999_999_999, -1, (1 << 31) - 1))
    whole = message.SerializeToString()
    outcomes(whole)
    outcomes(edited(source, whole))


def _method(source: Source) -> MethodDescriptor:
    method: MethodDescriptor = source.choose(gateway().services["GRPCInferenceService"].methods)
    return method


def _called(method: MethodDescriptor, messages: Sequence[bytes], metadata: Mapping[str, str]) -> Answered:
    async def call() -> Answered:
        ended = await gateway().ask(method, messages, metadata)
        await gateway().ask_as_neighbour()
        return ended

    return run(call())


def _right(kind: Descriptor, source: Source) -> Message:
    """Return a message that is right, where something is known to be."""
    message: Any = GetMessageClass(kind)()
    if kind is oip.ModelInferRequest.DESCRIPTOR:
        _infer(message, source)
    elif kind is oip.SystemSharedMemoryRegisterRequest.DESCRIPTOR:
        message.name, message.key = "r", source.choose((OBJECT, f"/{OBJECT}"))
        message.offset, message.byte_size = source.choose((0, 8)), source.choose((OBJECT_BYTES - 8, 8))
    else:
        for name in ("name", "model_name"):
            if name in kind.fields_by_name and not source.one_in(8):
                setattr(message, name, source.choose((MODEL, ROUTE)))
    return message


def _infer(message: oip.ModelInferRequest, source: Source) -> None:
    message.model_name = source.choose((MODEL, ROUTE))
    rows = 1 + source.number(3)
    tensor = message.inputs.add(name="x", datatype="FP32", shape=[rows, 1])
    values = [source.choose(_FLOATS) if source.one_in(4) else 1.0 for _ in range(rows)]
    match source.number(3):
        case 0:
            message.raw_input_contents.append(b"".join(struct.pack("<d", value)[:4] for value in values))
        case 1:
            tensor.contents.fp32_contents.extend(values)
        case _:
            tensor.parameters["shared_memory_region"].string_param = "r"
            tensor.parameters["shared_memory_byte_size"].int64_param = 4 * rows
    if source.one_in(2):
        message.outputs.add(name=source.choose(("y", "version")))
    if source.one_in(3):
        message.parameters[source.choose(_WORDS)].int64_param = source.choose(_NUMBERS)


def _fill(message: Message, source: Source, depth: int = _DEPTH) -> None:
    """Set some fields to something, whatever they are for."""
    for field in message.DESCRIPTOR.fields:
        if not source.one_in(3):
            continue
        here = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _map(here, field.message_type, source, depth)
        elif field.is_repeated:
            for _ in range(source.number(4)):
                if field.message_type is None:
                    here.append(_value(field, source))
                elif depth:
                    _fill(here.add(), source, depth - 1)
        elif field.message_type is not None:
            here.SetInParent()
            if depth:
                _fill(here, source, depth - 1)
        else:
            setattr(message, field.name, _value(field, source))


def _map(entries: Any, entry: Descriptor, source: Source, depth: int) -> None:
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for _ in range(source.number(4)):
        at = _value(key, source)
        if value.message_type is None:
            entries[at] = _value(value, source)
        else:
            entries[at].SetInParent()
            if depth:
                _fill(entries[at], source, depth - 1)


def _value(field: FieldDescriptor, source: Source) -> Any:
    if field.enum_type is not None:
        return source.choose([value.number for value in field.enum_type.values])
    if field.cpp_type in _BITS:
        least, most = _BITS[field.cpp_type]
        return min(max(source.choose(_NUMBERS), least), most)
    if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return source.choose(_FLOATS)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return source.one_in(2)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return source.raw(source.number(16))
    return source.choose(_WORDS)


TARGETS: Mapping[str, Target] = {
    "service": service,
    "service-made": service_made,
    "outcomes": outcomes,
    "outcomes-made": outcomes_made,
}
"""Each by its name."""
