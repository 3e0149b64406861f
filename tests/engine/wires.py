"""Requests written as no ordinary client does: legal, odd, or wrong, but close to what was meant."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Field = tuple[int, int, int | bytes]
"""Number, wire type, and the value: a number of a varint, else bytes."""

_MESSAGES: dict[int, dict] = {
    4: {2: {}},
    5: {4: {2: {}}, 5: {}},
    6: {2: {2: {}}},
}
"""Which fields of a request are messages, and which fields of those."""
_WIDTHS = {1: 8, 5: 4}


def rewrite(wire: bytes, dice: random.Random) -> bytes:
    """Return *wire* with a few fields in other places, forms, numbers, or there twice."""
    return rewriter(_MESSAGES)(wire, dice)


def rewriter(messages: Mapping[int, Any]) -> Callable[[bytes, random.Random], bytes]:
    """Return `rewrite` for messages of which *messages* says which fields are messages, and which fields of those."""
    return lambda wire, dice: _rewrite(wire, messages, dice, dice.randint(1, 3))


def _rewrite(wire: bytes, messages: Mapping[int, Any], dice: random.Random, changes: int) -> bytes:
    fields = list(_fields(wire))
    for _ in range(changes):
        _change(fields, messages, dice)
    return b"".join(_written(field, dice) for field in fields)


def _change(fields: list[Field], messages: Mapping[int, Any], dice: random.Random) -> None:
    inner = [
        (index, number, value)
        for index, (number, kind, value) in enumerate(fields)
        if kind == 2 and number in messages and isinstance(value, bytes)
    ]
    if inner and dice.random() < 0.6:
        index, number, inside = dice.choice(inner)
        fields[index] = number, 2, _rewrite(inside, messages[number], dice, 1)
        return
    if not fields:
        fields.append(_any(dice))
        return
    index = dice.randrange(len(fields))
    number, kind, value = fields[index]
    match dice.randrange(9):
        case 0:
            fields.insert(dice.randrange(len(fields) + 1), _any(dice))
        case 1:
            fields.insert(dice.randrange(len(fields) + 1), fields[index])
        case 2:
            del fields[index]
        case 3:
            dice.shuffle(fields)
        case 4:
            fields[index] = dice.randint(1, 8), kind, value
        case 5 if isinstance(value, bytes):  # a packed field, unpacked
            fields[index : index + 1] = [(number, 0, byte) for byte in value[:9]]
        case 6 if kind == 2:
            fields[index] = number, 2, dice.choice([b"", b"\xff", "ü".encode(), b"\xed\xa0\x80", b"u", b"\x80\x00"])
        case 7 if kind == 0:
            fields[index] = number, 0, dice.choice([0, 1, 2, 127, 128, 2**31, 2**32, 2**63, 2**64 - 1])
        case _:
            fields[index] = number, dice.choice([0, 1, 2, 5]), value


def _any(dice: random.Random) -> Field:
    number = dice.choice([1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 2047, 2**29 - 1])
    kind = dice.choice([0, 0, 1, 2, 2, 5, 3, 4])
    return number, kind, dice.randrange(300) if kind == 0 else dice.randbytes(dice.choice([0, 1, 4, 8]))


def _fields(wire: bytes) -> Iterator[Field]:
    """Read fields as far as they can be read."""
    at = 0
    while at < len(wire):
        tag, at = _read(wire, at)
        kind = tag & 7
        if kind == 0:
            value, at = _read(wire, at)
            yield tag >> 3, kind, value
        elif kind in (1, 2, 5):
            length = _WIDTHS.get(kind, 0)
            if kind == 2:
                length, at = _read(wire, at)
            yield tag >> 3, kind, wire[at : at + length]
            at += length
        else:
            return


def _read(wire: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(wire):
        byte = wire[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    return value, at


def _written(field: Field, dice: random.Random) -> bytes:
    number, kind, value = field
    head = _varint(number << 3 | kind, dice)
    if kind in (3, 4):
        return head
    if kind == 0:
        return head + _varint(value if isinstance(value, int) else len(value), dice)
    data = value if isinstance(value, bytes) else _varint(value, dice)
    if kind == 2:
        return head + _varint(len(data), dice) + data
    return head + data.ljust(_WIDTHS[kind], b"\0")[: _WIDTHS[kind]]


def _varint(value: int, dice: random.Random) -> bytes:
    """Return *value*, now and then in more bytes than it needs."""
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    if dice.random() < 0.03:
        written[-1] |= 0x80
        written += b"\x80" * dice.randrange(7) + b"\0"
    return bytes(written)
