"""Elements as fields of a message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from turnout_server.rpc.open_inference import typed_tensors
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.errors import InvalidInputError
from turnout_server.vocabulary.tensors import NUMPY_DTYPES


@pytest.mark.parametrize("datatype", sorted(typed_tensors.FIELDS))
def test_what_is_encoded_is_decoded(datatype: str) -> None:
    dtype, contents = NUMPY_DTYPES[datatype], pb.InferTensorContents()
    array = np.array(["a", ""] if datatype == "BYTES" else [0, 1], dtype)
    typed_tensors.encode(datatype, array, contents)
    decoded = typed_tensors.decode("x", datatype, dtype, 2, contents)
    assert (decoded.dtype, decoded.tolist()) == (dtype, array.tolist())


@pytest.mark.parametrize(
    ("datatype", "contents", "problem"),
    [
        ("FP16", {}, "no typed contents"),
        ("INT8", {"fp32_contents": [1.0]}, "travels in int_contents, found fp32_contents"),
        ("INT8", {"int_contents": [1, 2]}, "expected 1 elements"),
        ("INT8", {"int_contents": [128]}, "element 0 is 128; INT8 holds -128 to 127"),
        ("UINT16", {"uint_contents": [1 << 16]}, "UINT16 holds 0 to 65535"),
        ("BYTES", {"bytes_contents": [b"\xff"]}, "not UTF-8"),
    ],
)
def test_what_does_not_fit_is_refused(datatype: str, contents: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        typed_tensors.decode("x", datatype, NUMPY_DTYPES[datatype], 1, pb.InferTensorContents(**contents))
