"""What the typed services have in common: `Selector`, `FeatureColumn` and `FeatureMatrix` in, `Served` out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from turnout.v1 import features_pb2, served_pb2
from turnout_server.rpc.open_inference.raw_tensors import MOST_ELEMENTS
from turnout_server.tasks.features import FeatureColumn
from turnout_server.transport.call import REQUEST_ID_KEY, UNIT_KEY, Call
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.errors import InvalidFeatureError, InvalidRequestError
from turnout_server.vocabulary.query import Prediction, Query
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Array, Arrays

MOST_NAMES = 10_000
"""Features in one matrix. It takes two bytes to claim one more."""

_REASONS = {reason: served_pb2.Reason.Value(f"REASON_{reason.value}") for reason in Reason}
_FLOAT32 = np.dtype("<f4")
_PACKED_TAG = 0x0A
"""Field 1, length-delimited."""


class Packed(Protocol):
    """A message of packed floats of one width."""

    @property
    def values(self) -> Sequence[float]:
        """The floats."""

    def SerializeToString(self) -> bytes:
        """Return the message, written."""


class Infers(Protocol):
    """The part of the data plane that a typed service uses."""

    async def infer(self, query: Query) -> Prediction:
        """Answer *query*."""


def query(
    selector: served_pb2.Selector,
    call: Call,
    task: Task | None,
    prepare: Callable[[Signature], Arrays],
    outputs: tuple[str, ...] = (),
) -> Query:
    """Return the query that *selector* asks of a model for *task*; of any, for None.

    Raises:
        InvalidRequestError: the selector has no name, or something is too long; see `Query`.
    """
    metadata = call.metadata
    return Query(
        name=selector.name,
        version=selector.version,
        prepare=prepare,
        outputs=outputs,
        task=task,
        unit=selector.unit or metadata.get(UNIT_KEY, ""),
        request_id=metadata.get(REQUEST_ID_KEY, ""),
        headers=metadata,
        principal=call.principal,
        deadline=call.deadline,
    )


def served(decision: Decision, request_id: str = "") -> served_pb2.Served:
    """Return who answered, and why, as a message."""
    return served_pb2.Served(
        route=decision.route,
        target=decision.target,
        model=decision.model,
        version=decision.version,
        reason=_REASONS[decision.reason],
        assigned_target=decision.assigned,
        request_id=request_id,
        propensity=decision.propensity,
    )


def feature_columns(messages: Iterable[features_pb2.FeatureColumn]) -> list[FeatureColumn]:
    """Return *messages* as NumPy columns: float32, int64, or object (`str`).

    Raises:
        InvalidFeatureError: a column has no values of any type.
    """
    return [FeatureColumn(message.name, _values(message)) for message in messages]


def matrix_columns(message: features_pb2.FeatureMatrix, field: str) -> list[FeatureColumn]:
    """Return the columns of a matrix, which are views of one array; none for a message that was not set.

    Args:
        message: the matrix.
        field: what the request calls it.

    Raises:
        InvalidRequestError: there are too many names, or not as many values for each row as names.
    """
    names, count = message.names, len(message.values)
    if not names and not count:
        return []
    if len(names) > MOST_NAMES:
        raise InvalidRequestError(f"{field}: found {len(names)} names; at most {MOST_NAMES} are allowed")
    if not names or count % len(names):
        raise InvalidRequestError(
            f"{field}: found {count} values for {len(names)} names; expected as many for each row"
        )
    matrix = _floats(_floats_of(message)).reshape(-1, len(names))
    return list(map(FeatureColumn, names, matrix.T))


def _floats_of(message: features_pb2.FeatureMatrix) -> features_pb2.FloatValues:
    """Return the values by themselves."""
    floats = features_pb2.FloatValues()
    floats.values.MergeFrom(message.values)
    return floats


def _values(message: features_pb2.FeatureColumn) -> Array:
    kind = message.WhichOneof("values")
    if kind is not None and len(getattr(message, kind).values) > MOST_ELEMENTS:  # before they are taken out one by one
        raise InvalidFeatureError(message.name, f"has more than {MOST_ELEMENTS} values")
    if kind == "floats":
        return _floats(message.floats)
    if kind == "integers":
        return np.array(message.integers.values[:], np.int64)
    if kind == "strings":
        return np.array(message.strings.values[:], object)
    raise InvalidFeatureError(message.name, "has no values; set floats, integers or strings")


def _floats(message: features_pb2.FloatValues) -> Array:
    return packed(message, _FLOAT32)


def packed(message: Packed, dtype: np.dtype[Any]) -> Array:
    """Return the values of *message*, which has nothing else, as *dtype*, which is as they are on the wire.

    Packed floats are their own bytes there, so writing the message once more and viewing it is some twenty times as
    fast as taking the values out of it one by one.
    """
    count = len(message.values)
    if count > 1:
        raw = message.SerializeToString()
        header = packed_header(count * dtype.itemsize)
        if raw.startswith(header):
            return np.frombuffer(raw, dtype, count, len(header))
    return np.array(message.values[:], dtype)


@functools.lru_cache(maxsize=256)
def packed_header(size: int) -> bytes:
    """Return what stands before *size* bytes of packed values: the field's tag, and the size as a varint."""
    header = bytearray((_PACKED_TAG,))
    while size > 0x7F:
        header.append(size & 0x7F | 0x80)
        size >>= 7
    header.append(size)
    return bytes(header)
