"""Whole inputs and outputs: arrays and nested lists -> `NamedTensor`, and back.

An array of numbers travels as its bytes, with its type; the server turns it into the model's where nothing is lost but
digits of a float. Lists travel as 64-bit numbers, text or bytes. What comes back is NumPy's where NumPy can be
imported, and otherwise a list, nested as its shape says.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from turnout import _packed, frames
from turnout.v1 import (
    BytesValues,
    DoubleValues,
    IntegerValues,
    NamedTensor,
    StringValues,
    UnsignedValues,
)

_DATATYPES = {
    "b1": "BOOL",
    "u1": "UINT8",
    "u2": "UINT16",
    "u4": "UINT32",
    "u8": "UINT64",
    "i1": "INT8",
    "i2": "INT16",
    "i4": "INT32",
    "i8": "INT64",
    "f2": "FP16",
    "f4": "FP32",
    "f8": "FP64",
}
"""The Open Inference Protocol's names for NumPy's numbers."""
_DTYPES = {name: dtype for dtype, name in _DATATYPES.items()} | {"BF16": "f4", "BYTES": "O"}
"""And the other way round. NumPy has no BF16, and texts of any length are objects."""
_FLAT = {"floats": "<f4", "doubles": "<f8"}
"""The fields whose values are their bytes on the wire."""
_PLAIN = frozenset({bool, int, float, str, bytes})
_TIMES = ("M", "m")
"""NumPy's kinds of points and spans of time, of which it makes bare integers."""
MOST_AXES = 32
"""As many axes as NumPy's arrays had for long; lists nested deeper are a mistake."""


def axes(given: Any) -> int:
    """Return how many axes *given* has: 0 for a single value."""
    if hasattr(given, "ndim"):
        return int(given.ndim)
    found = 0
    while isinstance(given, list | tuple) and found < MOST_AXES:
        found += 1
        given = given[0] if given else None
    return found + (int(given.ndim) if found and hasattr(given, "ndim") else 0)


def encode(name: str, given: Any) -> NamedTensor:
    """Return an array, or nested lists, as the input *name*.

    Raises:
        TypeError: it has values that no tensor has, or of several types.
        ValueError: it is ragged, lacks a value, or one does not fit 64 bits.
    """
    dtype: Any = getattr(given, "dtype", None)
    kind = getattr(dtype, "str", "")
    if kind[1:] in _DATATYPES and hasattr(given, "astype") and not hasattr(given, "mask"):
        little = given.astype(dtype.newbyteorder("<"), copy=False) if kind[0] == ">" else given
        return NamedTensor(name=name, datatype=_DATATYPES[kind[1:]], shape=given.shape, raw=little.tobytes())
    if kind[1:2] in ("M", "m", "c", "V"):
        raise TypeError(f"input {name!r} is an array of {dtype}; expected numbers, text or bytes")
    values: list[Any] = []
    shape = _flatten(name, given, (), values)
    return _of_values(name, shape if values else tuple(getattr(given, "shape", shape)), values)


def decode(tensor: NamedTensor) -> Any:
    """Return an output as a NumPy array, or as nested lists where there is no NumPy."""
    field = tensor.WhichOneof("values")
    shape = tuple(tensor.shape)
    message = getattr(tensor, field) if field is not None else None
    numpy = _numpy()
    if numpy is None:
        return nested(list(message.values) if message is not None else [], shape, tensor.datatype)
    dtype = _DTYPES.get(tensor.datatype, "O")
    if message is None:
        return numpy.zeros(shape, dtype)
    if field in _FLAT:
        wire = numpy.dtype(_FLAT[field])
        body = _packed.body(message, wire.itemsize, len(message.values))
        return numpy.frombuffer(body, wire).astype(dtype).reshape(shape)
    return numpy.array(message.values[:], dtype).reshape(shape)


def nested(values: list[Any], shape: tuple[int, ...], datatype: str = "") -> Any:
    """Return *values*, row-major, as lists of *shape*; the one value where it is ()."""
    if datatype == "BOOL":
        values = list(map(bool, values))
    if len(shape) == 1:
        return values
    if not shape:
        return values[0] if values else None
    each = math.prod(shape[1:])
    return [nested(values[row * each : (row + 1) * each], shape[1:]) for row in range(shape[0])]


@cache
def _numpy() -> Any:
    """Return NumPy, or None where it cannot be imported."""
    try:
        return importlib.import_module("numpy")
    except ImportError:
        return None


def _flatten(name: str, given: Any, place: tuple[int, ...], into: list[Any]) -> tuple[int, ...]:
    """Append the values of *given* to *into*, row-major, and return its shape."""
    if frames.is_series(given):
        given = frames.values_of(name, given)
    if hasattr(given, "tolist") and getattr(getattr(given, "dtype", None), "kind", "") not in _TIMES:
        given = given.tolist()
    if not isinstance(given, list | tuple):
        into.append(given if given is not None else _refuse_missing(name, place))
        return ()
    if _PLAIN.issuperset(map(type, given)):
        into.extend(given)
        return (len(given),)
    if len(place) >= MOST_AXES:
        raise ValueError(f"input {name!r} is nested more than {MOST_AXES} deep")
    shape: tuple[int, ...] | None = None
    for row, one in enumerate(given):
        found = _flatten(name, one, (*place, row), into)
        if shape is not None and found != shape:
            problem = f"{_at(place, row)} has {_shown(found)} where {_at(place, 0)} has {_shown(shape)}"
            raise ValueError(f"input {name!r} is ragged: {problem}")
        shape = found
    return (len(given), *(shape or ()))


def _of_values(name: str, shape: tuple[int, ...], values: Sequence[Any]) -> NamedTensor:
    kinds = set(map(type, values))
    tensor = NamedTensor(name=name, shape=shape)
    if bool in kinds and len(kinds) > 1:
        values = [int(value) if isinstance(value, bool) else value for value in values]
        kinds.discard(bool)
        kinds.add(int)
    try:
        if not kinds:
            pass  # nothing is of any type
        elif kinds <= {str}:
            tensor.strings.CopyFrom(StringValues(values=values))
        elif kinds <= {bytes}:
            tensor.blobs.CopyFrom(BytesValues(values=values))
        elif kinds <= {bool}:
            tensor.datatype = "BOOL"
            tensor.raw = bytes(values)
        elif kinds <= {int} and max(values) > 2**63 - 1:
            tensor.unsigneds.CopyFrom(UnsignedValues(values=values))
        elif kinds <= {int}:
            tensor.integers.CopyFrom(IntegerValues(values=values))
        elif kinds <= {int, float}:
            tensor.doubles.CopyFrom(DoubleValues(values=values))
        else:
            raise _mixed(name, shape, values)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"input {name!r}: {error}") from error
    return tensor


def _mixed(name: str, shape: tuple[int, ...], values: Sequence[Any]) -> TypeError:
    """Return the error that names the first value which is no number, or not of the first one's type."""
    first = type(values[0])
    numbers = (bool, int, float)
    for place, value in zip(_places(shape), values, strict=False):
        kind = type(value)
        if kind not in (*numbers, str, bytes):
            return TypeError(f"input {name!r}: {list(place)} is a {kind.__name__}; expected numbers, text or bytes")
        if kind is not first and not (kind in numbers and first in numbers):
            return TypeError(f"input {name!r}: {list(place)} is {value!r} where others are like {values[0]!r}")
    return TypeError(f"input {name!r}: expected numbers, text or bytes")


def _places(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for flat in range(math.prod(shape)):
        place: list[int] = []
        for size in reversed(shape):
            flat, rest = divmod(flat, size)
            place.append(rest)
        yield tuple(reversed(place))


def _refuse_missing(name: str, place: tuple[int, ...]) -> Any:
    raise ValueError(f"input {name!r}: {list(place)} is none; a whole input has no missing values, but may have nan")


def _at(place: tuple[int, ...], row: int) -> str:
    return f"[{', '.join(map(str, (*place, row)))}]"


def _shown(shape: tuple[int, ...]) -> str:
    return f"shape {list(shape)}" if shape else "a single value"
