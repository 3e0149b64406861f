"""DataFrames of pandas or Polars, as columns and back. Neither is needed, nor imported before a caller has done so."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PANDAS, POLARS = "pandas", "polars"
_NUMERIC = frozenset("biuf")
"""NumPy's kinds of bools, integers and floats."""
_TIMES = frozenset("mM")
"""Of spans and points of time."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is kept of a caller's DataFrame, to answer with one like it."""

    library: str
    """pandas or polars."""
    index: Any = None
    """pandas' row labels; None for those that pandas makes."""


def is_frame(given: object) -> bool:
    """Say whether *given* is a DataFrame.

    Raises:
        TypeError: it is one that has not been worked out yet.
    """
    if _is(given, POLARS, "LazyFrame"):
        raise TypeError("found a LazyFrame; expected a DataFrame: call .collect() first")
    return _is(given, PANDAS, "DataFrame") or _is(given, POLARS, "DataFrame")


def is_series(given: object) -> bool:
    """Say whether *given* is one column of a DataFrame, or one row of pandas'."""
    return _is(given, PANDAS, "Series") or _is(given, POLARS, "Series")


def is_missing(value: object) -> bool:
    """Say whether *value* is pandas' own missing value, `pd.NA`."""
    return type(value).__name__ == "NAType" and value is getattr(sys.modules.get(PANDAS), "NA", None)


def shape_of(frame: Any) -> Shape:
    """Return what an answer needs of *frame*."""
    return Shape(PANDAS, frame.index) if _is(frame, PANDAS, "DataFrame") else Shape(POLARS)


def columns_of(frame: Any) -> dict[str, Any]:
    """Return *frame* as lists and arrays by column, a value each row; None where one is missing.

    Raises:
        TypeError: a column has points or spans of time, or a name that is no text.
        ValueError: a name stands twice.
    """
    names = list(frame.columns)
    columns: dict[str, Any] = {}
    for place, name in enumerate(names):
        if not isinstance(name, str):
            raise TypeError(f"column {place} is named {name!r}; expected a feature's name, as in the model's signature")
        if name in columns:
            raise ValueError(f"feature {name!r} stands twice")
        columns[name] = values_of(name, frame.iloc[:, place] if hasattr(frame, "iloc") else frame[name])
    return columns


def row_of(series: Any) -> dict[Any, Any]:
    """Return one row of a pandas DataFrame as a dict.

    Raises:
        TypeError: it is a column of Polars, which has no names.
    """
    if not hasattr(series, "items"):
        raise TypeError("found a Series of Polars; expected a row as a dict, such as frame.row(0, named=True)")
    return dict(series.items())


def values_of(name: str, series: Any) -> Any:
    """Return the column *name* as a NumPy array where it has numbers and misses none, else as a list.

    Raises:
        TypeError: it has points or spans of time.
    """
    if not hasattr(series, "isna"):
        if series.dtype.is_temporal():
            raise _no_time(name, series.dtype)
        return series.to_list()
    kind = getattr(series.dtype, "kind", "O")
    if kind in _TIMES:
        raise _no_time(name, series.dtype)
    if kind in _NUMERIC and hasattr(series.dtype, "str"):  # NumPy's own, and no extension of pandas with missing values
        return series.to_numpy()
    missing = series.isna()
    plain = series.astype(object)
    return plain.where(~missing, None).tolist() if missing.any() else plain.tolist()


def build(shape: Shape, columns: Mapping[str, Any]) -> Any:
    """Return a DataFrame of *columns*."""
    library: Any = importlib.import_module(shape.library)
    if shape.library == POLARS:
        return library.DataFrame(dict(columns))
    rows = len(next(iter(columns.values()), ()))
    index = shape.index if shape.index is not None and len(shape.index) == rows else None
    return library.DataFrame({name: _for_pandas(values) for name, values in columns.items()}, index=index)


def installed(library: str | None) -> str:
    """Return *library*, or for None the first of pandas and polars that can be imported.

    Raises:
        ValueError: there is no such library.
        ModuleNotFoundError: it is not installed, or neither is.
    """
    if library not in (None, PANDAS, POLARS):
        raise ValueError(f"found {library!r}; expected 'pandas' or 'polars'")
    wanted = (library,) if library else (PANDAS, POLARS)
    for one in wanted:
        if one in sys.modules or importlib.util.find_spec(one) is not None:
            return one
    raise ModuleNotFoundError(f"a DataFrame needs {' or '.join(wanted)}, which this environment does not have")


def _for_pandas(values: Any) -> Sequence[Any]:
    """Return *values* such that a list for each row stays one cell."""
    return list(values) if getattr(values, "ndim", 1) > 1 else values


def _no_time(name: str, dtype: object) -> TypeError:
    return TypeError(f"feature {name!r} has {dtype} values; models take numbers and text: say which, such as the year")


def _is(given: object, library: str, kind: str) -> bool:
    """Say whether *given* is of *library*'s *kind*; it cannot be if nobody has imported the library."""
    found = getattr(sys.modules.get(library), kind, None)
    return isinstance(found, type) and isinstance(given, found)
