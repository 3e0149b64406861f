"""Between what each feature lies in a sample, for the manifest: what lies beyond is counted when it is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from turnout_server.vocabulary.signature import Column, DType, Range, Signature, TensorSpec

ENOUGH = 100
"""With fewer rows, what a sample lacks says nothing of what training has seen."""

_MOST = 1e300

Named = TypeVar("Named", Column, TensorSpec)


def learned(signature: Signature, columns: Mapping[str, Sequence[Any]]) -> Signature:
    """Return *signature* with the range of each feature that has none and of which *columns* have `ENOUGH` numbers."""
    inputs = []
    for spec in signature.inputs:
        if spec.dtype in (DType.BYTES, DType.BOOL):
            inputs.append(spec)
        elif spec.columns:
            named = tuple(_with_range(column, columns) for column in spec.columns)
            inputs.append(msgspec.structs.replace(spec, columns=named))
        else:
            inputs.append(_with_range(spec, columns) if spec.shape in ((-1,), (-1, 1)) else spec)
    return msgspec.structs.replace(signature, inputs=tuple(inputs))


def _with_range(feature: Named, columns: Mapping[str, Sequence[Any]]) -> Named:
    seen = _seen(columns.get(feature.name, ()))
    return feature if seen is None or feature.range is not None else msgspec.structs.replace(feature, range=seen)


def _seen(values: Sequence[Any]) -> Range | None:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    finite = [float(value) for value in numbers if -_MOST < value < _MOST]  # NaN isn't, nor are integers of any length
    return (min(finite), max(finite)) if len(finite) >= ENOUGH else None
