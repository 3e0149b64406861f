"""Named tensors as NumPy arrays: the form in which requests travel between the layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = Mapping[str, Array]
"""Tensors by name. Numbers and booleans have their NumPy dtype; BYTES are object arrays of `str`, and BF16, which NumPy
does not have, are the bits of each number as UINT16."""

NUMPY_DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
"""The Open Inference Protocol's datatypes, little-endian."""
BF16_BITS = np.dtype("V2")
"""BF16 where no signature stands beside it that tells it from UINT16: two bytes, which NumPy takes for no number."""


def bf16_of(values: Array) -> Array:
    """Return floats as BF16, each rounded to the nearest, to an even one between two; NaN stays NaN."""
    wide = np.ascontiguousarray(values, np.float32).reshape(np.shape(values))
    bits = wide.view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(wide), 0x7FC0, rounded).astype("<u2")


def told_apart(tensors: Arrays, bf16: Collection[str]) -> Arrays:
    """Return *tensors*, those that are named in *bf16* as `BF16_BITS`; nothing is copied."""
    if not bf16:
        return tensors
    return {name: tensor.view(BF16_BITS) if name in bf16 else tensor for name, tensor in tensors.items()}


def numbers_of(tensors: Arrays) -> Arrays:
    """Return *tensors*, those that are `BF16_BITS` as FP32."""
    return {
        name: fp32_of(tensor.view(np.uint16)) if tensor.dtype == BF16_BITS else tensor
        for name, tensor in tensors.items()
    }


def fp32_of(bf16: Array) -> Array:
    """Return BF16 as FP32, which has all of them."""
    return (bf16.astype(np.uint32) << 16).view(np.float32)
