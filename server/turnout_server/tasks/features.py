"""Named feature columns -> the input arrays of a signature.

An input with `columns` is a matrix of features. Any other input of shape [-1] or [-1, 1] is one feature, named as the
input.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from turnout_server.vocabulary.errors import (
    InvalidFeatureError,
    InvalidInputError,
    InvalidModelError,
    InvalidRequestError,
    MissingFeatureError,
    UnknownFeatureError,
)
from turnout_server.vocabulary.extent import Extent
from turnout_server.vocabulary.signature import Column, DType, Range, Scalar, Signature, TensorSpec
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array

MAX_ROWS = 10_000
"""Rows in one typed request: what can be packed and encoded without making other requests wait for long."""
MAX_REPEATED_CHARACTERS = 16 * 1024 * 1024
"""Characters that single text values, which stand for all rows, may come to: a graph gets a copy of them a row."""

Columns = Mapping[str, Array]
"""Values by feature, each float32, int64 or object (`str`) of shape [rows], or [1]: one value for all rows."""


class FeatureColumn(NamedTuple):
    """One feature of a request."""

    name: str
    values: Array
    """float32, int64 or object (`str`), of shape [rows] or [1]."""


class Odd(IntEnum):
    """How a feature can be odd; the engine has the same numbers."""

    DEFAULTED = 0
    """It was left out or NaN, and has the manifest's default."""
    NAN = 1
    """It is NaN, and has no default."""
    OUT_OF_RANGE = 2
    """It is beyond what the manifest says that training has seen; the value as it was given, and no default."""


class Note(NamedTuple):
    """So many rows of a request have an odd feature."""

    place: int
    """The feature's, among those of all inputs in order: see `places`."""
    kind: Odd
    rows: int


class Packed(dict[str, Array]):
    """Inputs that were made of features."""

    __slots__ = ("notes",)

    notes: list[Note]
    """What is odd about them."""


def collect(*groups: Iterable[FeatureColumn]) -> dict[str, Array]:
    """Return the columns of all *groups* by name.

    Raises:
        InvalidFeatureError: a name stands twice.
    """
    columns: dict[str, Array] = {}
    for group in groups:
        for name, values in group:
            if name in columns:
                raise InvalidFeatureError(name, "stands twice in the request")
            columns[name] = values
    return columns


def pack(signature: Signature, columns: Columns, rows: int) -> Packed:
    """Return every input of *signature*, made from *columns*.

    A feature that is left out has the manifest's default in every row. So has a NaN in its row, because NaN means
    missing; where there is no default, NaN goes to the graph as it is, if the dtype is a float's.

    Args:
        signature: of the version that will run.
        columns: by feature. A column with one value stands for all rows.
        rows: how many rows each input has.

    Returns:
        New arrays of shape [rows], [rows, 1] or [rows, F], of the inputs' dtypes, and what is odd about them.

    Raises:
        UnknownFeatureError: no input takes a feature of that name.
        MissingFeatureError: a feature is left out and has no default.
        InvalidFeatureError: the values are of the wrong type or number, or do not fit the dtype.
        InvalidInputError: the model takes another number of rows.
        InvalidRequestError: there are more than `MAX_ROWS` rows.
        TooLargeError: there are more rows or elements than the signature allows.
        InvalidModelError: the signature has an input that is no feature, or a default that does not fit.
    """
    taken = layout(signature)
    if rows > MAX_ROWS:
        raise InvalidRequestError(f"found {rows} rows; one request may have at most {MAX_ROWS}")
    extent = Extent(signature)
    for part in taken.inputs:
        extent.add(part.name, (rows, *part.tail), rowwise=signature.batched and part.rows < 0)
    if not columns.keys() <= taken.known.keys():
        raise UnknownFeatureError(next(name for name in columns if name not in taken.known), tuple(taken.known))
    if taken.has_text and rows > 1:
        _check_repeated_text(columns, rows)
    packed = Packed()
    notes: list[Note] = []
    for part in taken.inputs:
        packed[part.name] = _pack_input(part, columns, rows, notes)
    packed.notes = notes
    return packed


def places(signature: Signature) -> tuple[str, ...]:
    """Return the names of the features of all inputs, in order; empty for a signature that takes none."""
    try:
        return tuple(feature.name for part in layout(signature).inputs for feature in part.features)
    except InvalidModelError:
        return ()


class Feature(NamedTuple):
    """A feature, as one input takes it."""

    name: str
    default: Array | None
    """Shape [1], of the input's dtype."""
    range: Range | None
    """Between what it was in training."""


class InputLayout(NamedTuple):
    """Which features an input consists of."""

    name: str
    dtype: DType
    rows: int
    """-1 for any number."""
    tail: tuple[int, ...]
    """The shape without the rows: (), (1,) or (F,)."""
    features: tuple[Feature, ...]
    first: int
    """The place of its first feature among those of all inputs."""
    defaults: Array | None
    """Shape [F], NaN where there is none; None where the dtype has no NaN or no feature has a default."""


class Layout(NamedTuple):
    """Which features a signature takes."""

    inputs: tuple[InputLayout, ...]
    known: dict[str, None]
    """The features' names, in the signature's order."""
    has_text: bool


@functools.lru_cache(maxsize=256)
def layout(signature: Signature) -> Layout:
    """Return which features *signature* takes, and where they go.

    Raises:
        InvalidModelError: it has an input that is no feature, or a default that does not fit.
    """
    inputs: list[InputLayout] = []
    for spec in signature.inputs:
        inputs.append(_input_layout(spec, sum(len(part.features) for part in inputs)))
    known = dict.fromkeys(feature.name for part in inputs for feature in part.features)
    return Layout(tuple(inputs), known, any(part.dtype is DType.BYTES for part in inputs))


def _input_layout(spec: TensorSpec, first: int) -> InputLayout:
    if not spec.columns and spec.shape not in ((-1,), (-1, 1)):
        raise InvalidModelError(f"input {spec.name!r} of shape {list(spec.shape)} is no feature; name its columns")
    named: list[Column | TensorSpec] = [*spec.columns] or [spec]
    features = tuple(_feature(one.name, one.default, one.range, spec) for one in named)
    defaults = None
    if spec.dtype.startswith("FP") and any(feature.default is not None for feature in features):
        filled = [np.nan if feature.default is None else feature.default[0] for feature in features]
        defaults = np.array(filled, NUMPY_DTYPES[spec.dtype])
    return InputLayout(spec.name, spec.dtype, spec.shape[0], spec.shape[1:], features, first, defaults)


def _feature(name: str, default: Scalar | None, range: Range | None, spec: TensorSpec) -> Feature:
    if default is None:
        return Feature(name, None, range)
    values = np.array([default], object if isinstance(default, str) else None)
    try:
        return Feature(name, np.asarray(_fitted(name, values, spec.dtype, None), NUMPY_DTYPES[spec.dtype]), range)
    except InvalidFeatureError as error:
        raise InvalidModelError(f"the default of {error.message}") from error


def _check_repeated_text(columns: Columns, rows: int) -> None:
    lengths = {name: len(values[0]) for name, values in columns.items() if values.dtype == object and len(values) == 1}
    if sum(lengths.values()) * rows > MAX_REPEATED_CHARACTERS:
        longest = max(lengths, key=lengths.__getitem__)
        raise InvalidFeatureError(longest, f"its {lengths[longest]} characters are too many to repeat in {rows} rows")


def _pack_input(part: InputLayout, columns: Columns, rows: int, notes: list[Note]) -> Array:
    """Return one input, and add to *notes* what is odd about it."""
    if part.rows not in (-1, rows):
        raise InvalidInputError(part.name, f"found {rows} rows; the model takes exactly {part.rows}")
    matrix = np.empty((rows, len(part.features)), NUMPY_DTYPES[part.dtype])
    is_float = part.dtype.startswith("FP")
    odd = False
    for position, (name, default, range) in enumerate(part.features):
        values = columns.get(name)
        if values is not None:
            if len(values) != rows and len(values) != 1:
                expected = f"1 or {rows}" if rows != 1 else "1"
                raise InvalidFeatureError(name, f"found {len(values)} values; expected {expected}")
            matrix[:, position] = _fitted(name, values, part.dtype, default)
            odd = odd or range is not None or (values.dtype.kind == "f" and not is_float)
        elif default is not None:
            matrix[:, position] = default
            odd = True
        else:
            raise MissingFeatureError(name)
    if is_float:
        missing = np.isnan(matrix)
        if missing.any():
            odd = True
            if part.defaults is not None:
                np.copyto(matrix, part.defaults, where=missing)
    if odd and rows:
        notes.extend(_notes(part, columns, rows))
    return matrix if part.tail else matrix.reshape(rows)


def _notes(part: InputLayout, columns: Columns, rows: int) -> Iterator[Note]:
    """Yield what is odd about the features of an input, looked at as they were given."""
    for place, (name, default, range) in enumerate(part.features, part.first):
        values = columns.get(name)
        if values is None:
            yield Note(place, Odd.DEFAULTED, rows)
            continue
        if values.dtype.kind == "f" and (nans := int(np.isnan(values).sum())):
            kind = Odd.NAN if default is None else Odd.DEFAULTED
            yield Note(place, kind, rows if len(values) == 1 else nans)
        if range is not None and values.dtype != object:
            beyond = _beyond(values, range)
            if beyond:
                yield Note(place, Odd.OUT_OF_RANGE, rows if len(values) == 1 else beyond)


def _beyond(values: Array, range: Range) -> int:
    """Return how many *values* lie beyond *range*; NaN lies nowhere."""
    # In the width of the values, so that a bound is what it was when a value of that width was learned from.
    width = np.float32 if values.dtype == np.float32 else np.float64
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = width(range[0]), width(range[1])
        return int(((values < low) | (values > high)).sum())


def _fitted(name: str, values: Array, dtype: DType, default: Array | None) -> Array:
    """Return *values*, which may be assigned to an array of *dtype* without loss, save the rounding of numbers to it.

    NaN stays in floats. In other dtypes it becomes *default*.
    """
    is_text = values.dtype == object
    if is_text != (dtype is DType.BYTES):
        raise InvalidFeatureError(
            name, f"found text; the model takes numbers ({dtype})" if is_text else "found numbers; the model takes text"
        )
    if is_text or dtype in (DType.FP32, DType.FP64):
        return values
    if dtype is DType.FP16:
        return _half(name, values)
    return _whole(name, values, dtype, default)


def _half(name: str, values: Array) -> Array:
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if np.isinf(half).any() and np.isfinite(values[np.isinf(half)]).any():
        raise InvalidFeatureError(name, "a value is too large for FP16")
    return half


def _whole(name: str, values: Array, dtype: DType, default: Array | None) -> Array:
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        if missing.any():
            if default is None:
                raise InvalidFeatureError(name, f"found NaN; {dtype} has none and the feature has no default")
            filled = np.full(len(values), default[0], default.dtype)
            filled[~missing] = _whole(name, values[~missing], dtype, None)
            return filled
        fractions = values[values != np.floor(values)]
        if len(fractions):
            raise InvalidFeatureError(name, f"found {fractions[0]}; the model takes whole numbers ({dtype})")
    if len(values):
        low, high = _limits(dtype)
        lowest, highest = values.min().item(), values.max().item()
        if lowest < low or highest > high:
            found = lowest if lowest < low else highest
            raise InvalidFeatureError(name, f"found {found}; {dtype} is from {low} to {high}")
    return values.astype(NUMPY_DTYPES[dtype])


def _limits(dtype: DType) -> tuple[int, int]:
    if dtype is DType.BOOL:
        return 0, 1
    info: Any = np.iinfo(NUMPY_DTYPES[dtype])
    return info.min, info.max
