"""Python values -> `FeatureColumn` and `FeatureMatrix`: rows of named values, or whole columns, as people have them.

A number is sent as a 32-bit float where its column holds any float, else as a 64-bit integer; a bool is an integer,
0 or 1. `None` is a missing value: NaN among numbers, an error among text, and a column of nothing else is left out,
so that the server fills in the model's default. Columns of floats with a value a row travel as one matrix.
"""

from __future__ import annotations

import math
import numbers
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from turnout.v1 import FeatureColumn, FeatureMatrix, FloatValues, IntegerValues, StringValues


class Array(Protocol):
    """A one-dimensional array of NumPy's kind; NumPy itself is not needed."""

    def tolist(self) -> Any:
        """Return the values as plain Python ones."""


Scalar = bool | int | float | str
"""One feature value."""
Row = Mapping[str, Scalar | None]
"""The features of one row, by name."""
Column = Sequence[Scalar | None] | Array | Scalar
"""One feature of all rows: a value a row, or a single one for all of them."""
Names = tuple[str, ...]
"""Several features."""
Columns = Mapping[str, Column] | Mapping[Names, Any] | Mapping[str | Names, Any]
"""The features of all rows, by name. By a tuple of names, a matrix: as many rows, and a column for each name."""


class Packed(NamedTuple):
    """The features of all rows, as they travel."""

    columns: list[FeatureColumn]
    matrix: FeatureMatrix | None
    """The features that are not in `columns`; None where all are."""


_FLOATS_TAG = 0x0A
_MATRIX_TAG = 0x12
"""Of packed values in `FloatValues` and in `FeatureMatrix`, length-delimited."""
_WIDTH = 4
"""Bytes of a float."""

_PLAIN = frozenset({bool, int, float, str, type(None)})
_EXPECTED = "expected numbers, text or bools"


def from_row(row: Row, what: str = "row") -> list[FeatureColumn]:
    """Return *row* as columns of one value; *what* names it in errors.

    Raises:
        TypeError: a value is not a number, text or bool.
        ValueError: a value does not fit its wire type.
    """
    return from_rows([row], lambda _: what)


def from_rows(rows: Sequence[Row], place: Callable[[int], str] = "row {}".format) -> list[FeatureColumn]:
    """Return *rows* as columns, one for each feature that any row has, in the order met.

    Args:
        rows: the features of each row. A feature that a row lacks is missing there.
        place: names the i-th row in errors, counted from 0.

    Raises:
        TypeError: a value is not a number, text or bool, or a feature mixes text with numbers.
        ValueError: a text feature is missing in one of several rows, or a value does not fit its wire type.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return _present(_column(name, [row.get(name) for row in rows], place) for name in names)


def from_columns(columns: Columns, rows: int | None = None) -> list[FeatureColumn]:
    """Return *columns* as messages.

    Args:
        columns: by feature, values of shape [rows], or a single value for all rows.
        rows: how many rows there are; None when the columns themselves say so.

    Raises:
        TypeError: as `from_rows`.
        ValueError: as `from_rows`, or the columns differ in length.
    """
    first = "" if rows is None else "the ids"
    messages = []
    for name, given in _by_name(columns):
        values = given if _is_float32(given) else _values(name, given)
        if len(values) != 1:
            if rows is None:
                rows, first = len(values), repr(name)
            if len(values) != rows:
                raise ValueError(f"feature {name!r} has {len(values)} values where {first} has {rows}")
        messages.append(_column(name, values, "value {}".format))
    return _present(messages)


def pack(columns: list[FeatureColumn], rows: int) -> Packed:
    """Return *columns*, those of floats with a value for each of *rows* put together where there are several."""
    floats = [column for column in columns if rows > 1 and len(column.floats.values) == rows]
    if len(floats) < 2 or sys.byteorder != "little":
        return Packed(columns, None)
    cells = array("f", bytes(_WIDTH * rows * len(floats)))
    for place, column in enumerate(floats):
        # Packed floats are their own bytes, after the tag and the length.
        cells[place :: len(floats)] = array("f", column.floats.SerializeToString()[-_WIDTH * rows :])
    matrix = FeatureMatrix(names=[column.name for column in floats])
    matrix.MergeFromString(_length_delimited(_MATRIX_TAG, cells.tobytes()))
    return Packed([column for column in columns if len(column.floats.values) != rows], matrix)


def _by_name(columns: Columns) -> Iterator[tuple[str, Any]]:
    """Yield each feature by itself.

    Raises:
        ValueError: a matrix has other than one column for each of its names, or a name stands twice.
    """
    seen = set[object]()
    name: Any
    given: Any
    for name, given in columns.items():
        parts = [(name, given)]
        if isinstance(name, tuple):
            single = list(given.T) if hasattr(given, "T") else list(zip(*given, strict=True))
            if len(single) != len(name):
                raise ValueError(f"the matrix of {name} has {len(single)} columns; expected {len(name)}")
            parts = list(zip(name, single, strict=True))
        for one, values in parts:
            if one in seen:
                raise ValueError(f"feature {one!r} stands twice")
            seen.add(one)
            yield one, values


def _is_float32(given: object) -> bool:
    """Say whether *given* is a one-dimensional array whose bytes are as they travel."""
    dtype = getattr(given, "dtype", None)
    return getattr(dtype, "str", "") == "<f4" and getattr(given, "ndim", 0) == 1 and hasattr(given, "tobytes")


def _length_delimited(tag: int, raw: bytes) -> bytes:
    """Return a field whose number is under 16."""
    head, size = bytearray((tag,)), len(raw)
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*head, size)) + raw


def _values(name: str, given: Column) -> Sequence[Any]:
    """Return *given* as a sequence of values."""
    plain: Any = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(plain, Sequence) and not isinstance(plain, str | bytes):
        return plain
    if isinstance(plain, Mapping) or (isinstance(plain, Iterable) and not isinstance(plain, str | bytes)):
        raise TypeError(f"feature {name!r}: found a {_kind(plain)}; expected a list, an array or one value")
    return [plain]


def _column(name: str, values: Sequence[Any], place: Callable[[int], str]) -> FeatureColumn | None:
    """Return one column, or None when all its values are missing."""
    if not isinstance(name, str):
        raise TypeError(f"feature names are text; found {name!r}")
    if _is_float32(values):
        raw: bytes = values.tobytes()  # type: ignore[attr-defined]
        return FeatureColumn(name=name, floats=FloatValues.FromString(_length_delimited(_FLOATS_TAG, raw)))
    kinds = set(map(type, values))
    if not kinds <= _PLAIN:
        values = [_plain(name, value, place, row) for row, value in enumerate(values)]
        kinds = set(map(type, values))
    if kinds == {type(None)}:
        return None
    if str in kinds and kinds != {str}:
        row, odd = next((row, value) for row, value in enumerate(values) if not isinstance(value, str))
        if odd is None:
            raise ValueError(f"feature {name!r}: {place(row)} has none; text cannot be missing in some rows only")
        raise TypeError(f"feature {name!r}: {place(row)} has {odd!r} where others have text")
    try:
        if str in kinds:
            return FeatureColumn(name=name, strings=StringValues(values=values))
        if type(None) in kinds:
            values = [math.nan if value is None else value for value in values]
        if not kinds <= {bool, int} or not kinds:
            return FeatureColumn(name=name, floats=FloatValues(values=values))
        return FeatureColumn(name=name, integers=IntegerValues(values=map(int, values) if bool in kinds else values))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"feature {name!r}: {error}") from error


def _plain(name: str, value: Any, place: Callable[[int], str], row: int) -> Scalar | None:
    """Return *value* as one of Python's own types: it is of a subclass, or an array library's scalar."""
    value = value.tolist() if hasattr(value, "tolist") else value
    match value:
        case bool() | None:
            return value
        case str():
            return str(value)
        case numbers.Integral():
            return int(value)
        case numbers.Real():
            return float(value)
    raise TypeError(f"feature {name!r}: {place(row)} has a {_kind(value)}; {_EXPECTED}")


def _kind(value: Any) -> str:
    return type(value).__name__


def _present(columns: Iterable[FeatureColumn | None]) -> list[FeatureColumn]:
    return [column for column in columns if column is not None]
