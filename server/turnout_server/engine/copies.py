"""Answered requests that the native data plane hands over, because mirrors get copies of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from turnout_server.engine.records import decision_of
from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.record import OK, Record, Timing
from turnout_server.vocabulary.signature import DType
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array, Arrays, told_apart

Told = tuple[list[Any], list[Any]]
"""What `turnout_engine.Plane.copies` returns: answered requests, and copies that were dropped."""


class Answered(NamedTuple):
    """A request that was answered, and is to be copied."""

    mirrors: Sequence[int]
    """Which of its route's mirrors get a copy, as places in the table that it was decided by."""
    method: str
    message: bytes
    outputs: Arrays
    """What the caller got, BF16 as `BF16_BITS`."""
    record: Record


class Dropped(NamedTuple):
    """Copies that there was no room for."""

    decision: Decision
    """Of their requests."""
    mirror: int
    times: int


def copies(told: Told) -> tuple[list[Answered], list[Dropped]]:
    """Return what the engine has *told*."""
    answered = [
        Answered(mirrors, method, message, _arrays(outputs), _record(*record))
        for mirrors, method, message, outputs, record in told[0]
    ]
    return answered, [Dropped(decision_of(*decision), mirror, count) for decision, mirror, count in told[1]]


def _arrays(outputs: Sequence[tuple[str, str, tuple[int, ...], Any]]) -> Arrays:
    bf16 = [name for name, datatype, _, _ in outputs if datatype == DType.BF16]
    return told_apart({name: _array(*rest) for name, *rest in outputs}, bf16)


def _array(datatype: str, shape: tuple[int, ...], elements: bytes | list[bytes]) -> Array:
    if isinstance(elements, bytes):
        return np.frombuffer(elements, NUMPY_DTYPES[datatype]).reshape(shape)
    texts = np.empty(len(elements), dtype=object)
    texts[:] = [element.decode() for element in elements]
    return texts.reshape(shape)


def _record(
    number: int,
    arrived_ns: int,
    took_ns: int,
    decision: tuple[Any, ...],
    unit: str,
    request_id: str,
    rows: int,
    timing: tuple[int, int, int, int, int, int] | None,
    traceparent: str,
) -> Record:
    by = decision_of(*decision)
    return Record(
        number,
        arrived_ns,
        took_ns,
        OK,
        by,
        by.route,
        unit,
        request_id,
        rows,
        None if timing is None else Timing(*timing),
        traceparent=traceparent,
    )
