"""What people have, for any model -> features and whole inputs.

By name: a single value, or a list or array with one axis, is a feature with a value a row; anything with more axes is a
whole input, and so are byte strings, which no feature has, and what the caller says is one. A DataFrame's columns and a
list of rows are features; where cells are lists or arrays themselves, they are stacked to a whole input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from turnout import features, frames, tensors
from turnout.answers import Tensor
from turnout.v1 import FeatureColumn, FeatureMatrix, NamedTensor

Data = Any
"""A dict, a list of rows, a DataFrame of pandas or Polars, or an array or nested lists for a model's only input."""

_EXPECTED = "expected a dict, rows, a DataFrame or an array"


class Inputs(NamedTuple):
    """The inputs of one call, as they travel."""

    features: list[FeatureColumn]
    matrix: FeatureMatrix | None
    tensors: list[NamedTensor]


class Named(NamedTuple):
    """Values by name."""

    features: Mapping[Any, Any]
    whole: Mapping[str, Any]


def read(data: Data, whole: Mapping[str, Any] | None = None) -> Inputs:
    """Return *data*, all of whose values have names, and the inputs that are *whole* whatever their axes.

    Raises:
        TypeError: it is nothing of that kind, or a value is nothing that a model takes.
        ValueError: columns differ in length, a value is missing where none may be, or does not fit.
    """
    given = _by_name(*_columns(data))
    if not whole:
        return given
    return given._replace(tensors=[*given.tensors, *(_encoded(name, values) for name, values in whole.items())])


def _columns(data: Data) -> tuple[Mapping[Any, Any], str]:
    """Return *data* by name, and what names a value's place in errors."""
    if data is None:
        return {}, ""
    if frames.is_frame(data):
        return frames.columns_of(data), "row {}"
    if frames.is_series(data):
        return frames.row_of(data), "the row"
    if isinstance(data, Mapping):
        return data, "value {}"
    if isinstance(data, list | tuple) and data:
        return _transposed(data), "row {}"
    raise TypeError(f"found a {type(data).__name__}; {_EXPECTED}")


def is_bare(data: Data) -> bool:
    """Say whether *data* has values but no names, so that only the model's signature says which input they are."""
    if isinstance(data, list | tuple):
        return bool(data) and not any(isinstance(one, Mapping) or frames.is_series(one) for one in data)
    return hasattr(data, "ndim") and not frames.is_frame(data) and not frames.is_series(data)


def named(data: Data, inputs: Sequence[Tensor]) -> Named:
    """Return bare *data* by name, as a model with *inputs* takes it.

    Args:
        data: an array or nested lists: the whole input of a model with one; else a row for each row and a column for
            each feature, in the signature's order.
        inputs: the model's.

    Raises:
        TypeError: it has no axis, or the model has several inputs that are not all features.
        ValueError: it has another number of columns than the model has features.
    """
    wide = tensors.axes(data)
    if not wide:
        raise TypeError("found a single value; expected an array, or a dict that names the inputs")
    needed = [one for one in inputs if one.required] or list(inputs)
    if len(needed) == 1:
        is_feature = not needed[0].columns and needed[0].features and wide == 1
        return Named({needed[0].name: data}, {}) if is_feature else Named({}, {needed[0].name: data})
    names = tuple(name for one in inputs for name in one.features)
    if wide != 2 or not all(one.features for one in inputs) or any(one.datatype == "BYTES" for one in inputs):
        known = ", ".join(one.name for one in inputs)
        raise TypeError(f"the model has {len(inputs)} inputs ({known}); expected a dict that names them")
    found = int(data.shape[1]) if hasattr(data, "shape") else len(data[0])
    if found != len(names):
        raise ValueError(f"found {found} columns; the model has {len(names)} features ({', '.join(names)})")
    return Named({names: data}, {})


def _by_name(data: Mapping[Any, Any], place: str) -> Inputs:
    columns: dict[Any, Any] = {}
    whole: list[NamedTensor] = []
    for name, given in data.items():
        if isinstance(name, tuple):
            columns[name] = given
            continue
        _check(name, given)
        values = frames.values_of(name, given) if frames.is_series(given) else given
        if _is_whole(values):
            whole.append(_encoded(name, values))
        else:
            columns[name] = values
    found = features.from_columns(columns, place=place.format)
    rows = max((len(column.floats.values) for column in found), default=0)
    return Inputs(*features.pack(found, rows), whole)


def _encoded(name: Any, values: Any) -> NamedTensor:
    _check(name, values)
    return tensors.encode(name, [values] if isinstance(values, bytes) else values)


def _check(name: Any, given: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"features and inputs are named by text; found {name!r}")
    if frames.is_frame(given):
        raise TypeError(f"input {name!r} is a DataFrame; expected an array, such as .to_numpy()")


def _is_whole(given: Any) -> bool:
    if isinstance(given, list | tuple):
        first = next((one for one in given if one is not None), None)
        return isinstance(first, bytes | list | tuple) or getattr(first, "ndim", 0) > 0
    return (
        tensors.axes(given) > 1 or isinstance(given, bytes) or getattr(getattr(given, "dtype", None), "kind", "") == "S"
    )


def _transposed(rows: Sequence[Any]) -> dict[Any, list[Any]]:
    """Return *rows* as columns; what a row lacks is None there."""
    found = [features.as_row(row, "row {}".format, position) for position, row in enumerate(rows)]
    return {name: [row.get(name) for row in found] for name in dict.fromkeys(name for row in found for name in row)}
