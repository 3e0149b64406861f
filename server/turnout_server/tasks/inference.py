"""Features by name and whole tensors -> the input arrays of any signature.

An input of shape [-1] or [-1, 1], and each column of a matrix that names them, is a feature; so is an input of a single
element, which holds for all rows. Any other input is given whole, as a tensor. Those may be, too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from turnout_server.tasks import features
from turnout_server.tasks.features import MAX_ROWS, Columns, Layout, Note, Packed
from turnout_server.vocabulary.ask import NAME_LIMIT
from turnout_server.vocabulary.errors import (
    IncompleteError,
    InvalidFeatureError,
    InvalidInputError,
    InvalidRequestError,
    TurnoutError,
    UnknownFeatureError,
    enumerated,
)
from turnout_server.vocabulary.extent import Extent
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array, fp32_of

MOST_TENSORS = 10_000
"""Tensors, or outputs wanted, of one request. A message has room for millions of empty ones."""
EMPTY_LIMIT = 1 << 24
"""What the sizes other than 0 of an empty tensor may multiply to: it takes no bytes to claim more."""
_FLOATS = (DType.FP16, DType.BF16, DType.FP32, DType.FP64)


class Elements(NamedTuple):
    """A tensor's elements."""

    values: Array
    """Flat, of the NumPy dtype of `dtype`."""
    dtype: DType
    """What they were sent as."""


class Tensor(NamedTuple):
    """A whole input, as it was sent."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[DType, int], Elements]
    """Given the dtype that the model takes and how many there are by the shape, returns the elements.

    Raises `InvalidInputError` where there are more or fewer, or they are not what they are said to be.
    """


def wanted(names: Sequence[str]) -> tuple[str, ...]:
    """Return the outputs wanted.

    Raises:
        InvalidRequestError: there are too many, or one is too long or wanted twice.
    """
    _check_count("outputs", len(names))
    found: dict[str, None] = {}
    for name in names:
        if len(name) > NAME_LIMIT:
            raise InvalidRequestError(f"an output's name has {len(name)} characters; at most {NAME_LIMIT} are allowed")
        if name in found:
            raise InvalidRequestError(f"output {name!r} is wanted twice")
        found[name] = None
    return tuple(found)


def check_tensors(count: int) -> None:
    """Refuse more tensors than one request may have.

    Raises:
        InvalidRequestError: there are more than `MOST_TENSORS`.
    """
    _check_count("tensors", count)


def pack(signature: Signature, columns: Columns, tensors: Sequence[Tensor]) -> dict[str, Array]:
    """Return every input of *signature*, made from *columns* and *tensors*, and from defaults for what is in neither.

    Args:
        signature: of the version that will run.
        columns: features by name. A column with one value stands for all rows. NaN means missing there, see
            `features.pack`, and in a tensor itself.
        tensors: whole inputs. Elements of another dtype than the model's are taken where nothing is lost but digits of
            a float.

    Returns:
        Arrays by name, in the signature's order; `Packed` where some were made of features.

    Raises:
        UnknownFeatureError, InvalidFeatureError: no input takes a feature, or its values do not fit.
        InvalidInputError: a tensor is unknown, there twice, beside features of the same input, or does not fit.
        IncompleteError: something is missing that has no default.
        InvalidRequestError: there are more than `MAX_ROWS` rows of features.
        TooLargeError: there are more rows or elements than the signature allows.
        InvalidModelError: the signature has a default that does not fit.
    """
    known = arranged(signature)
    given = _whole(known, tensors)
    _check_features(known, columns, given)
    rows = _rows(known, columns, given)
    parts = _without(known.by_row, given)
    singles = _without(known.single, given)
    _check_complete(known, columns, given, (*parts.inputs, *singles.inputs))
    _check_extent(known, given, rows, parts)
    # Tensors first: until they are read, what they say of rows is a claim.
    arrays = {name: _read(tensor, known.inputs[name]) for name, tensor in given.items()}
    notes: list[Note] = []
    arrays |= features.fill(parts, columns, rows, notes) | features.fill(singles, columns, 1, notes)
    made = {name: _array(known, spec, arrays, rows) for name, spec in known.inputs.items()}
    if not parts.inputs and not singles.inputs:
        return made
    packed = Packed(made)
    packed.notes = notes
    return packed


# ---------------------------------------------------------------- signatures


class Arranged(NamedTuple):
    """A signature, arranged for packing."""

    signature: Signature
    inputs: Mapping[str, TensorSpec]
    by_row: Layout
    """Inputs of features with one value a row."""
    single: Layout
    """Inputs of one element."""
    owners: Mapping[str, tuple[str, ...]]
    """By feature, the inputs that it goes to."""
    singles: frozenset[str]
    """The inputs in `single`."""
    featured: frozenset[str]
    """The inputs in `by_row` or `single`."""
    rowwise: frozenset[str]
    """The inputs whose first axis is the batch."""


@functools.lru_cache(maxsize=256)
def arranged(signature: Signature) -> Arranged:
    """Return *signature* by names.

    Raises:
        InvalidModelError: a default does not fit.
    """
    by_row = features.layout_of(spec for spec in signature.inputs if features.is_feature(spec))
    single = features.layout_of(spec for spec in signature.inputs if _is_single(spec))
    owners: dict[str, tuple[str, ...]] = {}
    for part in (*by_row.inputs, *single.inputs):
        for feature in part.features:
            owners[feature.name] = (*owners.get(feature.name, ()), part.name)
    inputs = {spec.name: spec for spec in signature.inputs}
    featured = by_row.names | single.names
    return Arranged(signature, inputs, by_row, single, owners, single.names, featured, frozenset(signature.rowwise))


def _is_single(spec: TensorSpec) -> bool:
    return not features.is_feature(spec) and all(size == 1 for size in spec.shape)


def _without(layout: Layout, given: Mapping[str, Tensor]) -> Layout:
    """Return the part of *layout* that no tensor is given for."""
    if given.keys().isdisjoint(part.name for part in layout.inputs):
        return layout
    inputs = tuple(part for part in layout.inputs if part.name not in given)
    return layout._replace(inputs=inputs, has_text=any(part.dtype is DType.BYTES for part in inputs))


# ---------------------------------------------------------------- what is there


def _whole(known: Arranged, tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return *tensors* by name, each of a shape that fits."""
    given: dict[str, Tensor] = {}
    for tensor in tensors:
        name = tensor.name
        spec = known.inputs.get(name)
        if spec is None:
            raise InvalidInputError(_short(name), _unknown(known, name))
        if name in given:
            raise InvalidInputError(name, "is there twice")
        _check_shape(spec, tensor.shape)
        given[name] = tensor
    return given


def _unknown(known: Arranged, name: str) -> str:
    if name in known.owners:
        return f"the model has no such input; it is a column of {known.owners[name][0]!r}: send it as a feature"
    return f"the model has no such input; it has {enumerated(tuple(known.inputs))}"


def _check_shape(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    if len(shape) != len(spec.shape):
        raise InvalidInputError(
            spec.name, f"expected {len(spec.shape)} dimensions {list(spec.shape)}, found {len(shape)}"
        )
    if any(found < 0 or wanted not in (-1, found) for found, wanted in zip(shape, spec.shape, strict=True)):
        raise InvalidInputError(spec.name, f"expected shape {list(spec.shape)} (-1 is any size), found {list(shape)}")
    if 0 in shape and math.prod(size for size in shape if size) > EMPTY_LIMIT:
        raise InvalidInputError(spec.name, f"shape {list(shape)} is empty, yet its other sizes are beyond reason")


def _check_features(known: Arranged, columns: Columns, given: Mapping[str, Tensor]) -> None:
    for name in columns:
        owners = known.owners.get(name)
        if owners is None:
            raise _no_feature(known, name)
        for owner in owners:
            if owner in given:
                how = "is there as a tensor and as a feature" if name == owner else f"is there beside feature {name!r}"
                raise InvalidInputError(owner, f"{how}; send one of them")


def _no_feature(known: Arranged, name: str) -> TurnoutError:
    spec = known.inputs.get(name)
    if spec is not None and spec.columns:
        return InvalidFeatureError(name, "is a matrix; send its columns as features, or all of it as a tensor")
    if spec is not None:
        return InvalidFeatureError(name, f"is an input of shape {list(spec.shape)}; send it as a tensor")
    if not known.owners:
        return InvalidFeatureError(
            _short(name), f"the model takes no features; send its inputs as tensors: {enumerated(tuple(known.inputs))}"
        )
    return UnknownFeatureError(_short(name), tuple(known.owners))


def _rows(known: Arranged, columns: Columns, given: Mapping[str, Tensor]) -> int:
    """Return how many rows there are: as many as tensors say, else the longest column; 1 without any."""
    by_row = {name: len(values) for name, values in columns.items() if name in known.by_row.known}
    counts = {name: tensor.shape[0] for name, tensor in given.items() if name in known.rowwise}
    if not counts:
        return max(by_row.values(), default=1)
    first, rows = next(iter(counts.items()))
    for name, count in counts.items():
        if count != rows:
            raise InvalidInputError(name, f"has {count} rows, but {first!r} has {rows}")
    for name, count in by_row.items():
        if count not in (1, rows):
            expected = "1" if rows == 1 else f"1 or {rows}"
            raise InvalidFeatureError(name, f"found {count} values; expected {expected}, as input {first!r} has {rows}")
    return rows


def _check_complete(
    known: Arranged, columns: Columns, given: Mapping[str, Tensor], parts: Iterable[features.InputLayout]
) -> None:
    missing = {
        feature.name: str(part.dtype)
        for part in parts
        for feature in part.features
        if feature.default is None and feature.name not in columns
    }
    inputs = {
        name: f"{spec.dtype} {list(spec.shape)}"
        for name, spec in known.inputs.items()
        if name not in given and name not in known.featured and not _can_default(known, spec)
    }
    if missing or inputs:
        raise IncompleteError(missing, inputs)


def _can_default(known: Arranged, spec: TensorSpec) -> bool:
    """Say whether *spec* has a default, and every axis a size."""
    free = spec.shape[1:] if spec.name in known.rowwise else spec.shape
    return spec.default is not None and -1 not in free


def _check_extent(known: Arranged, given: Mapping[str, Tensor], rows: int, parts: Layout) -> None:
    if parts.inputs and rows > MAX_ROWS:
        raise InvalidRequestError(f"found {rows} rows; one request with features may have at most {MAX_ROWS}")
    extent = Extent(known.signature)
    tails = {part.name: part.tail for part in parts.inputs}
    for name, spec in known.inputs.items():
        if name in given:
            shape = given[name].shape
        elif name in tails:
            shape = (rows, *tails[name])
        else:
            shape = _full_shape(known, spec, rows)
        extent.add(name, shape, rowwise=name in known.rowwise)


# ---------------------------------------------------------------- arrays


def _full_shape(known: Arranged, spec: TensorSpec, rows: int) -> tuple[int, ...]:
    return (rows, *spec.shape[1:]) if spec.name in known.rowwise else spec.shape


def _read(tensor: Tensor, spec: TensorSpec) -> Array:
    elements = tensor.read(spec.dtype, math.prod(tensor.shape))
    return _fitted(spec.name, elements, spec.dtype).reshape(tensor.shape)


def _array(known: Arranged, spec: TensorSpec, arrays: Mapping[str, Array], rows: int) -> Array:
    if spec.name in arrays:
        array = arrays[spec.name]
        return array.reshape(spec.shape) if spec.name in known.singles else array
    default = np.array([spec.default], object if spec.dtype is DType.BYTES else None)
    value = features.fitted(spec.name, default, spec.dtype)
    return np.full(_full_shape(known, spec, rows), value[0], NUMPY_DTYPES[spec.dtype])


def _fitted(name: str, elements: Elements, dtype: DType) -> Array:
    """Return elements as what the model takes."""
    values, sent = elements
    if sent is dtype:
        return values
    if sent is DType.BF16:
        values, sent = fp32_of(values), DType.FP32
    if sent in _FLOATS and dtype not in (*_FLOATS, DType.BYTES) and np.isnan(values).any():
        raise InvalidInputError(name, f"found NaN; {dtype} has none")
    return features.fitted(name, values, dtype, wrong=InvalidInputError)


# ---------------------------------------------------------------- bounds


def _check_count(what: str, count: int) -> None:
    if count > MOST_TENSORS:
        raise InvalidRequestError(f"{what}: found {count}; one request may have at most {MOST_TENSORS}")


def _short(name: str) -> str:
    return name if len(name) <= NAME_LIMIT else f"{name[:NAME_LIMIT]}..."
