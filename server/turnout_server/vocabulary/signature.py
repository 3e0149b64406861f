"""What goes into a graph and what comes out: dtypes, tensors, features."""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import Annotated

import msgspec

MOST = 1 << 48
"""No bound is larger, nor is an axis."""


class DType(StrEnum):
    """Element types, by the Open Inference Protocol's names."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


Scalar = bool | int | float | str
Range = tuple[float, float]


def _check_range(name: str, given: Range | None) -> None:
    if given is not None and not -inf < given[0] <= given[1] < inf:
        raise ValueError(f"{name}: found the range {list(given)}; expected two numbers, the lower one first")


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One named feature inside a matrix input: column i of the matrix is the i-th `Column`."""

    name: str
    default: float | None = None
    """Used where a typed request leaves the feature out; None makes the feature required."""
    range: Range | None = None
    """The least and the largest value that training has seen: what lies beyond is counted, and served all the same."""

    def __post_init__(self) -> None:
        _check_range(self.name, self.range)


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One input or output of a graph."""

    name: str
    dtype: DType
    shape: tuple[Annotated[int, msgspec.Meta(ge=-1, le=MOST)], ...]
    """Row-major; -1 is any size. A leading -1 is the batch axis where `Signature.batched` is set."""
    default: Scalar | None = None
    """For a one-feature input (shape [-1] or [-1, 1]): used where a typed request leaves the feature out."""
    columns: tuple[Column, ...] = ()
    """For a matrix input of shape [-1, F]: the F features in it, in order."""
    range: Range | None = None
    """For a one-feature input of numbers: as a column's."""

    def __post_init__(self) -> None:
        _check_range(self.name, self.range)
        if self.range is not None and self.dtype is DType.BYTES:
            raise ValueError(f"{self.name}: text has no range")


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What goes into a graph and what comes out."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batched: bool = True
    """Whether rows are independent: the first axis of every input marked -1 there may be concatenated."""
    max_rows: Annotated[int, msgspec.Meta(ge=1, le=MOST)] | None = None
    """Rows that one request may have; None is the gateway's to say (`limits.max_rows`)."""
    max_elements: Annotated[int, msgspec.Meta(ge=1, le=MOST)] | None = None
    """Elements that all inputs of one request may have together; likewise (`limits.max_elements`)."""

    @property
    def rowwise(self) -> tuple[str, ...]:
        """The inputs whose first axis is the batch; the others, such as a `k`, hold for all rows."""
        return tuple(spec.name for spec in self.inputs if self.batched and spec.shape[:1] == (-1,))

    @property
    def bf16_outputs(self) -> tuple[str, ...]:
        """The outputs whose arrays look as if they were UINT16."""
        return tuple(spec.name for spec in self.outputs if spec.dtype is DType.BF16)

    @property
    def has_batch_axis(self) -> bool:
        """Whether rows of several requests can be put together, run at once, and taken apart again."""
        return bool(self.rowwise) and all(spec.shape[:1] == (-1,) for spec in self.outputs)
