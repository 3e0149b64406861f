"""Named feature columns -> the input arrays of a signature.

An input with `columns` is a matrix of features. Any other input of shape [-1] or [-1, 1] is one feature, named as the
input.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from turnout_server.vocabulary.errors import (
    InvalidFeatureError,
    InvalidInputError,
    InvalidModelError,
    InvalidRequestError,
    MissingFeatureError,
    TurnoutError,
    UnknownFeatureError,
)
from turnout_server.vocabulary.extent import Extent
from turnout_server.vocabulary.signature import Column, DType, Range, Scalar, Signature, TensorSpec
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array, bf16_of, fp32_of

MAX_ROWS = 10_000
"""Rows in one typed request: what can be packed and encoded without making other requests wait for long."""
MAX_REPEATED_CHARACTERS = 16 * 1024 * 1024
"""Characters that single text values, which stand for all rows, may come to: a graph gets a copy of them a row."""

Columns = Mapping[str, Array]
"""Values by feature, each float32, int64 or object (`str`) of shape [rows], or [1]: one value for all rows."""


Wrong = Callable[[str, str], TurnoutError]
"""Given the name of what is wrong, and what is, returns the error to raise."""
_A_VALUE_A_ROW = ((-1,), (-1, 1))


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

    name: str
    """The feature's."""
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
    notes: list[Note] = []
    packed = Packed(fill(taken, columns, rows, notes))
    packed.notes = notes
    return packed


def places(signature: Signature) -> tuple[str, ...]:
    """Return the names of the features of all inputs, in order; empty for a signature that takes others, too."""
    try:
        return tuple(feature.name for part in layout(signature).inputs for feature in part.features)
    except InvalidModelError:
        return ()


def fill(taken: Layout, columns: Columns, rows: int, notes: list[Note] | None = None) -> dict[str, Array]:
    """Return the inputs that *taken* describes, and add to *notes* what is odd; the other *columns* do not matter.

    Raises:
        MissingFeatureError, InvalidFeatureError, InvalidInputError: as `pack`.
    """
    if taken.has_text and rows > 1:
        _check_repeated_text(columns, rows)
    return {part.name: _pack_input(part, columns, rows, taken, [] if notes is None else notes) for part in taken.inputs}


class Feature(NamedTuple):
    """A feature, as one input takes it."""

    name: str
    default: Array | None
    """Shape [1], of the input's dtype."""
    range: Range | None = None
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
    defaults: Array | None
    """Shape [F], NaN where there is none; None where the dtype has no NaN or no feature has a default."""


class Layout(NamedTuple):
    """Which features a signature takes."""

    inputs: tuple[InputLayout, ...]
    known: dict[str, None]
    """The features' names, in the signature's order."""
    has_text: bool

    @property
    def names(self) -> frozenset[str]:
        """The inputs' names."""
        return frozenset(part.name for part in self.inputs)


@functools.lru_cache(maxsize=256)
def layout(signature: Signature) -> Layout:
    """Return which features *signature* takes, and where they go.

    Raises:
        InvalidModelError: it has an input that is no feature, or a default that does not fit.
    """
    for spec in signature.inputs:
        if not is_feature(spec):
            raise InvalidModelError(f"input {spec.name!r} of shape {list(spec.shape)} is no feature; name its columns")
    return layout_of(signature.inputs)


def is_feature(spec: TensorSpec) -> bool:
    """Say whether an input is a feature, or a matrix of named ones."""
    return bool(spec.columns) or spec.shape in _A_VALUE_A_ROW


def layout_of(specs: Iterable[TensorSpec]) -> Layout:
    """Return which features these inputs take, each of which is a feature, a matrix of them, or a single element.

    Raises:
        InvalidModelError: a default does not fit.
    """
    inputs = tuple(_input_layout(spec) for spec in specs)
    known = dict.fromkeys(feature.name for part in inputs for feature in part.features)
    return Layout(inputs, known, any(part.dtype is DType.BYTES for part in inputs))


def _input_layout(spec: TensorSpec) -> InputLayout:
    named: list[Column | TensorSpec] = [*spec.columns] or [spec]
    features = tuple(_feature(one.name, one.default, spec)._replace(range=one.range) for one in named)
    defaults = None
    if spec.dtype.startswith("FP") and any(feature.default is not None for feature in features):
        filled = [np.nan if feature.default is None else feature.default[0] for feature in features]
        defaults = np.array(filled, NUMPY_DTYPES[spec.dtype])
    rows = spec.shape[0] if spec.shape else 1
    return InputLayout(spec.name, spec.dtype, rows, spec.shape[1:], features, defaults)


def _feature(name: str, default: Scalar | None, spec: TensorSpec) -> Feature:
    if default is None:
        return Feature(name, None)
    values = np.array([default], object if isinstance(default, str) else None)
    try:
        return Feature(name, fitted(name, values, spec.dtype))
    except InvalidFeatureError as error:
        raise InvalidModelError(f"the default of {error.message}") from error


def _check_repeated_text(columns: Columns, rows: int) -> None:
    lengths = {name: len(values[0]) for name, values in columns.items() if values.dtype == object and len(values) == 1}
    if sum(lengths.values()) * rows > MAX_REPEATED_CHARACTERS:
        longest = max(lengths, key=lengths.__getitem__)
        raise InvalidFeatureError(longest, f"its {lengths[longest]} characters are too many to repeat in {rows} rows")


def _pack_input(part: InputLayout, columns: Columns, rows: int, taken: Layout, notes: list[Note]) -> Array:
    if part.rows not in (-1, rows):
        raise InvalidInputError(part.name, f"found {rows} rows; the model takes exactly {part.rows}")
    matrix = np.empty((rows, len(part.features)), NUMPY_DTYPES[part.dtype])
    is_float = part.dtype.startswith("FP")
    odd = False
    for position, (name, default, seen) in enumerate(part.features):
        values = columns.get(name)
        if values is not None:
            if len(values) != rows and len(values) != 1:
                expected = f"1 or {rows}" if rows != 1 else "1"
                raise InvalidFeatureError(name, f"found {len(values)} values; expected {expected}")
            matrix[:, position] = fitted(name, values, part.dtype, default)
            odd = odd or seen is not None or (values.dtype.kind == "f" and not is_float)
        elif default is not None:
            matrix[:, position] = default
            odd = True
        else:
            required = [one.name for each in taken.inputs for one in each.features if one.default is None]
            raise MissingFeatureError(*(one for one in required if one not in columns))
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
    for name, default, seen in part.features:
        values = columns.get(name)
        if values is None:
            yield Note(name, Odd.DEFAULTED, rows)
            continue
        if values.dtype.kind == "f" and (nans := int(np.isnan(values).sum())):
            kind = Odd.NAN if default is None else Odd.DEFAULTED
            yield Note(name, kind, rows if len(values) == 1 else nans)
        if seen is not None and values.dtype != object and (beyond := _beyond(values, seen)):
            yield Note(name, Odd.OUT_OF_RANGE, rows if len(values) == 1 else beyond)


def _beyond(values: Array, seen: Range) -> int:
    """Return how many *values* lie beyond what was *seen*; NaN lies nowhere."""
    # In the width of the values, so that a bound is what it was when a value of that width was learned from.
    width = np.float32 if values.dtype == np.float32 else np.float64
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = width(seen[0]), width(seen[1])
        return int(((values < low) | (values > high)).sum())


def fitted(
    name: str, values: Array, dtype: DType, default: Array | None = None, *, wrong: Wrong = InvalidFeatureError
) -> Array:
    """Return *values* as *dtype*, without loss, save the rounding of numbers to it.

    NaN stays in floats. In other dtypes it becomes *default*.

    Args:
        name: the feature's, or the input's.
        values: numbers, or objects (`str`).
        dtype: what the model takes.
        default: of shape [1] and that dtype; None for none.
        wrong: makes the error for a name and what is wrong.
    """
    is_text = values.dtype == object
    if is_text != (dtype is DType.BYTES):
        raise wrong(
            name, f"found text; the model takes numbers ({dtype})" if is_text else "found numbers; the model takes text"
        )
    if is_text:
        return values
    if dtype is DType.BF16:
        bits = bf16_of(_narrowed(name, values, DType.FP32, wrong))
        _check_finite(name, values, fp32_of(bits), dtype, wrong)
        return bits if default is None else np.where(np.isnan(values), default, bits)
    if dtype in (DType.FP16, DType.FP32, DType.FP64):
        return _narrowed(name, values, dtype, wrong)
    return _whole(name, values, dtype, default, wrong)


def _narrowed(name: str, values: Array, dtype: DType, wrong: Wrong) -> Array:
    with np.errstate(over="ignore"):
        narrow: Array = values.astype(NUMPY_DTYPES[dtype], copy=False)
    if narrow.dtype != values.dtype:
        _check_finite(name, values, narrow, dtype, wrong)
    return narrow


def _check_finite(name: str, values: Array, narrow: Array, dtype: DType, wrong: Wrong) -> None:
    infinite = np.isinf(narrow)
    if infinite.any() and np.isfinite(values[infinite]).any():
        raise wrong(name, f"a value is too large for {dtype}")


def _whole(name: str, values: Array, dtype: DType, default: Array | None, wrong: Wrong) -> Array:
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        if missing.any():
            if default is None:
                raise wrong(name, f"found NaN; {dtype} has none and the feature has no default")
            filled = np.full(len(values), default[0], default.dtype)
            filled[~missing] = _whole(name, values[~missing], dtype, None, wrong)
            return filled
        fractions = values[values != np.floor(values)]
        if len(fractions):
            raise wrong(name, f"found {fractions[0]}; the model takes whole numbers ({dtype})")
    if len(values):
        low, high = _limits(dtype)
        lowest, highest = values.min().item(), values.max().item()
        if lowest < low or highest > high:
            found = lowest if lowest < low else highest
            raise wrong(name, f"found {found}; {dtype} is from {low} to {high}")
    return values.astype(NUMPY_DTYPES[dtype])


def _limits(dtype: DType) -> tuple[int, int]:
    if dtype is DType.BOOL:
        return 0, 1
    info: Any = np.iinfo(NUMPY_DTYPES[dtype])
    return info.min, info.max
