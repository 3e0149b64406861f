"""Python values -> `FeatureColumn` and `FeatureMatrix`: rows of named values, or whole columns, as people have them.

A number is sent as a 32-bit float where its column holds any float, else as a 64-bit integer; a bool is an integer,
0 or 1. `None` and `pd.NA` are a missing value: NaN among numbers, an error among text, and a column of nothing else is
left out, so that the server fills in the model's default. Columns of floats with a value a row travel as one matrix.
"""

from __future__ import annotations

import math
import numbers
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from turnout import _packed, frames
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
Frame = Any
"""A DataFrame of pandas or Polars, neither of which is needed."""


class Packed(NamedTuple):
    """The features of all rows, as they travel."""

    columns: list[FeatureColumn]
    matrix: FeatureMatrix | None
    """The features that are not in `columns`; None where all are."""


_MATRIX_TAG = 0x12
"""Of packed values in `FeatureMatrix`, length-delimited."""
_WIDTH = 4
"""Bytes of a float."""
_EVERY_INTEGER = 2**24
"""Up to here 32-bit floats have all of them."""
_LARGEST = 3.4028235677973366e38
"""Half a step beyond the largest 32-bit float: from here on a number would become infinite."""

_PLAIN = frozenset({bool, int, float, str, type(None)})
_EXPECTED = "expected numbers, text or bools"
_TIMES = ("M", "m")
"""NumPy's kinds of points and spans of time."""
_NO_TIME = "models take no times: say which number, such as the hour"
_HINTS = dict.fromkeys(
    ("Timestamp", "datetime", "date", "timedelta", "NaTType", "datetime64", "timedelta64"), _NO_TIME
) | {
    "Decimal": "float(...) makes it a number",
    "bytes": ".decode() makes it text",
}
"""What to do about values that people have, by the name of their type."""


def from_row(row: Row | Frame, what: str = "row") -> list[FeatureColumn]:
    """Return *row*, which may be a DataFrame's, as columns of one value; *what* names it in errors.

    Raises:
        TypeError: a value is not a number, text or bool.
        ValueError: a value does not fit its wire type, or a DataFrame has other than one row.
    """
    if frames.is_frame(row):
        found = frames.columns_of(row)
        rows: int = len(row)
        if rows != 1:
            raise ValueError(f"{what}: the DataFrame has {rows} rows; expected one")
        return from_columns(found, place=lambda _: what)
    return from_rows([as_row(row, lambda _: what, 0)], lambda _: what)


def as_row(row: Row | Frame, place: Callable[[int], str], position: int) -> Row:
    """Return one row as a mapping.

    Raises:
        TypeError: it is none.
    """
    if frames.is_series(row):
        return frames.row_of(row)
    if not isinstance(row, Mapping):
        raise TypeError(f"{place(position)} is a {_kind(row)}; expected {{feature: value}}")
    return row


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


def from_columns(
    columns: Columns | Frame, rows: int | None = None, place: Callable[[int], str] = "value {}".format
) -> list[FeatureColumn]:
    """Return *columns* as messages.

    Args:
        columns: by feature, values of shape [rows], or a single value for all rows; or a DataFrame.
        rows: how many rows there are; None when the columns themselves say so.
        place: names the i-th value in errors, counted from 0.

    Raises:
        TypeError: as `from_rows`.
        ValueError: as `from_rows`, or the columns differ in length.
    """
    if frames.is_frame(columns):
        columns, place = frames.columns_of(columns), "row {}".format
    first = "" if rows is None else "the ids"
    messages = []
    for name, given in _by_name(columns):
        values = given if _is_float32(given) else _values(name, given)
        if len(values) != 1:
            if rows is None:
                rows, first = len(values), repr(name)
            if len(values) != rows:
                raise ValueError(f"feature {name!r} has {len(values)} values where {first} has {rows}")
        messages.append(_column(name, values, place))
    return _present(messages)


def pack(columns: list[FeatureColumn], rows: int) -> Packed:
    """Return *columns*, those of floats with a value for each of *rows* put together where there are several."""
    floats = [column for column in columns if rows > 1 and len(column.floats.values) == rows]
    if len(floats) < 2 or not _packed.NATIVE:
        return Packed(columns, None)
    cells = array("f", bytes(_WIDTH * rows * len(floats)))
    for place, column in enumerate(floats):
        cells[place :: len(floats)] = array("f", _packed.body(column.floats, _WIDTH, rows))
    matrix = FeatureMatrix(names=[column.name for column in floats])
    matrix.MergeFromString(_packed.field(_MATRIX_TAG, cells.tobytes()))
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
            if frames.is_frame(given):
                single = list(frames.columns_of(given).values())
            else:
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
    return _packed.is_little(given, "<f4") and getattr(given, "ndim", 0) == 1


def _values(name: str, given: Column) -> Sequence[Any]:
    """Return *given* as a sequence of values."""
    if frames.is_series(given):
        given = frames.values_of(name, given)
    kind = getattr(getattr(given, "dtype", None), "kind", "")
    if kind in _TIMES:
        given = given.astype(f"{kind}8[us]")  # type: ignore[union-attr]  # of nanoseconds NumPy makes bare integers
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
        return FeatureColumn(name=name, floats=FloatValues.FromString(_packed.field(_packed.VALUES_TAG, raw)))
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
            if int in kinds:
                _check_whole(values, place)
            floats = FloatValues(values=values)
            if not math.isfinite(sum(floats.values)):  # NaN and infinity may be meant; what became so is not
                _check_float32(values, place)
            return FeatureColumn(name=name, floats=floats)
        return FeatureColumn(name=name, integers=IntegerValues(values=map(int, values) if bool in kinds else values))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"feature {name!r}: {error}") from error


def _check_whole(values: Sequence[Any], place: Callable[[int], str]) -> None:
    """See that whole numbers stay what they are: they may be ids, and one more is somebody else's."""
    for row, value in enumerate(values):
        if type(value) is int and abs(value) > _EVERY_INTEGER and FloatValues(values=[value]).values[0] != value:
            raise ValueError(
                f"{place(row)} has {value}, and other rows a fraction or nothing: such a column travels as 32-bit "
                "floats, which have no such number"
            )


def _check_float32(values: Sequence[Any], place: Callable[[int], str]) -> None:
    for row, value in enumerate(values):
        if _LARGEST <= abs(value) < math.inf:
            raise ValueError(f"{place(row)} has {value!r}, which is too large for a 32-bit float")


def _plain(name: str, value: Any, place: Callable[[int], str], row: int) -> Scalar | None:
    """Return *value* as one of Python's own types: it is of a subclass, or an array library's scalar."""
    if frames.is_missing(value):
        return None
    is_time = getattr(getattr(value, "dtype", None), "kind", "") in _TIMES
    if hasattr(value, "tolist") and not is_time:
        value = value.tolist()
    match value:
        case _ if is_time:
            pass  # NumPy's spans of time pass for integers
        case bool() | None:
            return value
        case str():
            return str(value)
        case numbers.Integral():
            return int(value)
        case numbers.Real():
            return float(value)
    hint = _HINTS.get(_kind(value), "")
    raise TypeError(f"feature {name!r}: {place(row)} has a {_kind(value)}; {_EXPECTED}{hint and f' ({hint})'}")


def _kind(value: Any) -> str:
    return type(value).__name__


def _present(columns: Iterable[FeatureColumn | None]) -> list[FeatureColumn]:
    return [column for column in columns if column is not None]
