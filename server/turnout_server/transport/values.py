"""How much a message holds, counted on the wire before protobuf reads it.

Protobuf takes two bytes of a message for what it needs a hundred for, and holds up the event loop for longer the more
there is. The engine counts by itself (`engine/src/net/values.rs`, the twin of this); without it, calls of a large
message pass `Values.check`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from turnout_server.vocabulary.errors import Kind, TurnoutError

Shape = Sequence[Mapping[int, int]]
"""The messages that one may consist of, itself first: of each, the fields that are more than one value, by number. A
field is the place of the message that is in it, or `VARINTS`. Without any, nothing is counted."""
VARINTS: Final = -1
"""A field of numbers that take a byte or more each, and up to eight in memory. Floats are as long as on the wire."""
UNCOUNTED = 64 * 1024
"""Messages of no more bytes are not counted: whatever is in them, it costs less than a few MiB."""
MESSAGE = 32
"""How many values a message within a message counts as: it is an object, and servicers look at each."""
_DEPTH = 100
"""How deep messages lie within each other; protobuf refuses deeper ones."""
_LONGEST_VARINT = 10
_NO_END = bytes(range(0x80, 0x100))
"""The bytes that no varint ends with."""
_ONE = frozenset({FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_STRING})
"""Texts, bytes, and numbers that take as much memory as they are long."""


class TooManyValuesError(TurnoutError):
    """A message holds more than this server reads."""

    reason = "TOO_MANY_VALUES"
    kind = Kind.INVALID

    def __init__(self, most: int) -> None:
        super().__init__(
            f"the message has more than {most} values, of which a message within it counts as {MESSAGE}; "
            "limits.max_message_values is the bound",
            limit=str(most),
        )


class Values:
    """Holds messages to the bound, one after the other.

    Counting is Python's work, a second of processor time where a message is all texts: a thread does it, so that calls
    go on beside it, if more slowly. Other long messages wait for their turn.
    """

    def __init__(self, most: int) -> None:
        """Let *most* values pass in one message."""
        self._most = most
        self._thread = ThreadPoolExecutor(1, "turnout-values")

    async def check(self, message: bytes, shape: Shape) -> None:
        """Look at a message, if it is longer than `UNCOUNTED`.

        Raises:
            TooManyValuesError: it holds too much.
        """
        if len(message) <= UNCOUNTED or not shape:
            return
        loop = asyncio.get_running_loop()
        if await loop.run_in_executor(self._thread, count, message, shape, self._most) > self._most:
            raise TooManyValuesError(self._most)

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def shape_of(descriptor: Descriptor) -> Shape:
    """Return the shape of a message."""
    places = {descriptor.full_name: 0}
    kinds, shape = [descriptor], list[Mapping[int, int]]()
    for kind in kinds:  # which grows meanwhile
        fields: dict[int, int] = {}
        for field in kind.fields:
            inner = field.message_type
            if inner is not None:
                if inner.full_name not in places:
                    places[inner.full_name] = len(kinds)
                    kinds.append(inner)
                fields[field.number] = places[inner.full_name]
            elif field.cpp_type not in _ONE:
                fields[field.number] = VARINTS
        shape.append(fields)
    return shape


def count(message: bytes, shape: Shape, most: int) -> int:
    """Return how many values there are in *message*, as far as it can be read; one more than *most* for all beyond.

    It reads all that any protobuf may read, and then some: where it stops, so do they. Fields count one each, numbers
    in packed fields as well, and messages `MESSAGE`.
    """
    outer: list[tuple[int, Mapping[int, int]]] = []
    at, end, fields, groups = 0, len(message), shape[0], 0
    found = 0
    while found <= most:
        if at == end:
            if groups or not outer:
                break
            end, fields = outer.pop()
            continue
        tag, at = _varint(message, at, end)
        if at < 0:
            break
        found += 1
        kind = tag & 7
        if kind == 2:
            length, at = _varint(message, at, end)
            if at < 0 or length > end - at:
                break
            # What is in a group is nobody's: fields there may have any number and be anything.
            place = None if groups else fields.get(tag >> 3)
            if place is None:
                at += length
            elif place == VARINTS:
                found += len(message[at : at + length].translate(None, _NO_END))
                at += length
            elif len(outer) == _DEPTH:
                break
            else:
                found += MESSAGE - 1
                outer.append((end, fields))
                end, fields = at + length, shape[place]
        elif kind == 0:
            _, at = _varint(message, at, end)
            if at < 0:
                break
        elif kind == 3:
            groups += 1
        elif kind == 4 and groups:
            groups -= 1
        elif kind == 1 and end - at >= 8:
            at += 8
        elif kind == 5 and end - at >= 4:
            at += 4
        else:
            break
    return min(found, most + 1)


def _varint(message: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a varint and where it ends; -1 for one that does not."""
    if at < end and message[at] < 0x80:
        return message[at], at + 1
    value = 0
    for index in range(min(_LONGEST_VARINT, end - at)):
        byte = message[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value & (1 << 64) - 1, at + index + 1
    return 0, -1
