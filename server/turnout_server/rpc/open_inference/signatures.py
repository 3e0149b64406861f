"""Signatures, arranged for the decoding of requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from turnout_server.vocabulary.signature import Signature, TensorSpec
from turnout_server.vocabulary.tensors import NUMPY_DTYPES

_LIMIT = 1024


class Input(NamedTuple):
    """What one input has to be."""

    name: str
    datatype: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    """-1 is any size."""


class Arranged(NamedTuple):
    """A signature by names."""

    signature: Signature
    inputs: Mapping[str, Input]
    output_datatypes: Mapping[str, str]
    rowwise: tuple[str, ...]
    """The inputs whose first axis is the batch."""


_arranged: dict[int, Arranged] = {}
"""By identity: to hash a whole signature would cost more than this saves. Each entry holds its signature, so that no
other one can come to have that identity."""


def arrange(signature: Signature) -> Arranged:
    """Return *signature* by names; the work is done once for each object."""
    found = _arranged.get(id(signature))
    if found is None:
        if len(_arranged) >= _LIMIT:
            _arranged.clear()
        found = _arranged[id(signature)] = Arranged(
            signature,
            {spec.name: _input(spec) for spec in signature.inputs},
            {spec.name: spec.dtype.value for spec in signature.outputs},
            tuple(spec.name for spec in signature.inputs if signature.batched and spec.shape[:1] == (-1,)),
        )
    return found


def _input(spec: TensorSpec) -> Input:
    return Input(spec.name, spec.dtype.value, NUMPY_DTYPES[spec.dtype.value], spec.shape)
