"""Messages as bytes: protobuf that is broken, or that says the same in another way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from turnout_server.rpc.stubs import open_inference_pb2 as pb

MOST_BYTES = 200_000
"""The longest message that the gateways take."""
MOST_VALUES = 30_000
"""The most values in one."""
Rewrite = Callable[[Random, bytes], bytes]
_VARINT, _FIXED64, _LENGTH, _GROUP, _END_GROUP, _FIXED32 = 0, 1, 2, 3, 4, 5


def varint(value: int, padding: int = 0) -> bytes:
    """Return *value* as a varint, made *padding* bytes longer than need be."""
    value &= 2**64 - 1
    groups = []
    while value >> 7:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    if padding:
        groups[-1] |= 0x80
        groups += [0x80] * (padding - 1) + [0]
    return bytes(groups)


def tag(field: int, kind: int) -> bytes:
    """Return what announces a field."""
    return varint(field << 3 | kind)


def delimited(field: int, data: bytes) -> bytes:
    """Return a field of bytes."""
    return tag(field, _LENGTH) + varint(len(data)) + data


def rewritten(random: Random, message: bytes) -> tuple[bytes, str]:
    """Return *message* in another way, and in which."""
    name = random.choice(list(REWRITES))
    return REWRITES[name](random, message), name


def _unpacked(random: Random, message: bytes) -> bytes:
    """Write each dimension as a field of its own, as proto2 would."""
    request = pb.ModelInferRequest.FromString(message)
    inputs = list(request.inputs)
    request.ClearField("inputs")
    rest = request.SerializeToString()
    for tensor in inputs:
        dims = b"".join(tag(3, _VARINT) + varint(size) for size in tensor.shape)
        tensor.ClearField("shape")
        rest += delimited(5, tensor.SerializeToString() + dims)
    return rest


def _in_parts(random: Random, message: bytes) -> bytes:
    """Say each tensor's contents in two parts, which readers have to put together."""
    request = pb.ModelInferRequest.FromString(message)
    inputs = list(request.inputs)
    request.ClearField("inputs")
    rest = request.SerializeToString()
    for tensor in inputs:
        contents = tensor.contents
        more = pb.InferTensorContents()
        for field, values in contents.ListFields():
            keep = random.randint(0, len(values))
            getattr(more, field.name).extend(values[keep:])
            del values[keep:]
        whole = tensor.SerializeToString()
        rest += delimited(5, whole + (delimited(5, more.SerializeToString()) if tensor.HasField("contents") else b""))
    return rest


def _shuffled(random: Random, message: bytes) -> bytes:
    """Put the top level's fields into another order; what is repeated keeps its own."""
    parts = []
    request = pb.ModelInferRequest.FromString(message)
    for field, _ in request.ListFields():
        part = pb.ModelInferRequest.FromString(message)
        for other, _ in request.ListFields():
            if other.name != field.name:
                part.ClearField(other.name)
        parts.append(part.SerializeToString())
    random.shuffle(parts)
    return b"".join(parts)


def _flipped(random: Random, message: bytes) -> bytes:
    if not message:
        return message
    place = random.randrange(len(message))
    return message[:place] + bytes([message[place] ^ 1 << random.randrange(8)]) + message[place + 1 :]


_OUTPUT = delimited(6, b"")
_FLAG = tag(15, _VARINT) + varint(1)
_UNIT = delimited(1, b"unit_id")
_TEXT = delimited(2, delimited(3, b"vip"))

REWRITES: Mapping[str, Rewrite] = {
    # what no reader takes
    "truncated": lambda random, message: message[: random.randrange(len(message) or 1)],
    "noise": lambda random, message: random.randbytes(random.randint(1, 60)),
    "flipped": _flipped,
    "field-0": lambda random, message: message + b"\x00\x00",
    "not-utf8": lambda random, message: message + delimited(random.choice((1, 2, 3)), b"\xff\xfe"),
    "parameter-not-utf8": lambda random, message: message + delimited(4, delimited(1, b"\xc0") + _TEXT),
    "open-group": lambda random, message: message + tag(1000, _GROUP),
    "end-of-nothing": lambda random, message: message + tag(1000, _END_GROUP),
    "deep": lambda random, message: message + tag(1000, _GROUP) * 200 + tag(1000, _END_GROUP) * 200,
    "long-varint": lambda random, message: message + tag(1000, _VARINT) + b"\xff" * 10 + b"\x01",
    "too-long": lambda random, message: message + delimited(1000, bytes(MOST_BYTES)),
    "too-many-values": lambda random, message: message + random.choice((_OUTPUT, _FLAG)) * 40_000,
    "past-the-end": lambda random, message: message + tag(7, _LENGTH) + varint(2**31),
    # what every reader takes, and makes the same of
    "as-it-is": lambda random, message: message,
    "empty": lambda random, message: b"",
    "twice": lambda random, message: message * 2,
    "unknown-fields": lambda random, message: (
        tag(1000, _VARINT) + varint(7) + tag(1001, _FIXED64) + bytes(8) + message + tag(1002, _FIXED32) + bytes(4)
    ),
    "many-fields": lambda random, message: message + (tag(1000, _FIXED32) + bytes(4)) * (MOST_VALUES // 2),
    "group": lambda random, message: message + tag(1000, _GROUP) + delimited(1, b"x") + tag(1000, _END_GROUP),
    "wrong-kind": lambda random, message: message + tag(random.randint(1, 7), _VARINT) + varint(5),
    "padded-varint": lambda random, message: message + varint(3 << 3 | _LENGTH, 2) + varint(2, 3) + b"id",
    "name-again": lambda random, message: delimited(1, b"nobody") + message,
    "version-again": lambda random, message: message + delimited(2, random.choice((b"", b"5", b"champion"))),
    "unit-again": lambda random, message: message + delimited(4, _UNIT + _TEXT),
    "unit-without-value": lambda random, message: message + delimited(4, _UNIT),
    "parameter-without-name": lambda random, message: message + delimited(4, _TEXT),
    "parameter-value-first": lambda random, message: message + delimited(4, _TEXT + _UNIT),
    "two-values": lambda random, message: (
        message + delimited(4, _UNIT + delimited(2, delimited(3, b"u-1") + tag(2, _VARINT) + varint(7)))
    ),
    "raw-again": lambda random, message: message + delimited(7, b"abcd"),
    "unpacked": _unpacked,
    "in-parts": _in_parts,
    "shuffled": _shuffled,
}
"""Ways to write a ModelInferRequest, by name."""
