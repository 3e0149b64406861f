"""Tensors with values at the edges of their dtypes, in the forms that the Open Inference Protocol has for them."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np

from tests.rpc.inference import FIELDS, NUMPY
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.signature import Signature, TensorSpec

SIZES = (0, 1, 1, 2, 3, 5)
"""Of free axes."""
TEXTS = ("", "a", "Ideal", "Good", "ü", "漢字", "😀", "a\0b", "x" * 300, "\ufeff", "line\nline")
FLOATS = (0.0, -0.0, 1.0, -1.5, math.inf, -math.inf, math.nan, 5e-324, 1e-45, 6e-8, 65504.0, 3.4028235e38)


class Drawn(dict[str, list[Any]]):
    """Elements by input's name; `shapes` has their shapes."""

    def __init__(self, random: Random, signature: Signature) -> None:
        super().__init__()
        self.shapes: dict[str, tuple[int, ...]] = {}
        rows = random.choice(SIZES)
        for spec in signature.inputs:
            self.shapes[spec.name] = shape = _shape(random, spec, rows)
            self[spec.name] = [element(random, spec) for _ in range(math.prod(shape))]


def _shape(random: Random, spec: TensorSpec, rows: int) -> tuple[int, ...]:
    free = [rows if axis == 0 else random.choice(SIZES) for axis in range(len(spec.shape))]
    return tuple(chosen if size < 0 else size for chosen, size in zip(free, spec.shape, strict=True))


def element(random: Random, spec: TensorSpec) -> Any:
    """Return one element as a Python value that the dtype holds."""
    kind: str = spec.dtype.value
    if kind == "BOOL":
        return random.random() < 0.5
    if kind == "BYTES":
        return random.choice(TEXTS)
    if kind.startswith("FP"):
        dtype = np.dtype(NUMPY[kind])
        if random.random() < 0.3:
            return np.frombuffer(_bits(random, dtype.itemsize), dtype)[0]
        with np.errstate(over="ignore"):
            return np.asarray(random.choice(FLOATS) if random.random() < 0.5 else random.gauss(0, 100)).astype(dtype)[
                ()
            ]
    limits = np.iinfo(NUMPY[kind])
    if random.random() < 0.3:
        return random.choice((limits.min, limits.max))
    return max(limits.min, random.randint(-7, 7))


def _bits(random: Random, size: int) -> bytes:
    """Return any float's bytes: often a NaN's with a payload, which chance alone would hardly find."""
    bits = bytearray(random.randbytes(size))
    if random.random() < 0.3:
        bits[-1] |= 0x7F
        bits[-2] |= 0xFC
    return bytes(bits)


def raw(datatype: str, elements: Sequence[Any]) -> bytes:
    """Return *elements* as `raw_input_contents` has them."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(one)) + one for one in map(_encoded, elements))
    return np.array(elements, NUMPY[datatype]).tobytes()


def fill(contents: pb.InferTensorContents, datatype: str, elements: Sequence[Any]) -> None:
    """Put *elements* into the field for *datatype*; FP16, which has none, goes where FP32 does."""
    contents.SetInParent()
    field = FIELDS.get(datatype, "fp32_contents")
    if datatype == "BYTES":
        getattr(contents, field).extend(map(_encoded, elements))
    else:
        getattr(contents, field).extend(one.item() if isinstance(one, np.generic) else one for one in elements)


def _encoded(text: str) -> bytes:
    return text.encode()
