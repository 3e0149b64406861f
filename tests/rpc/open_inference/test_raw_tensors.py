"""Elements as bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from turnout_server.rpc.open_inference import raw_tensors
from turnout_server.vocabulary.errors import InvalidInputError

TEXT = np.dtype(object)


@pytest.mark.parametrize(
    "array",
    [np.arange(6, dtype=np.float32)[::2], np.array([True, False]), raw_tensors.texts(["", "a\0b", "漢"])],
    ids=str,
)
def test_what_is_encoded_is_decoded(array: Any) -> None:
    decoded = raw_tensors.decode("x", array.dtype, array.size, raw_tensors.encode(array))
    assert decoded.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("dtype", "count", "data", "problem"),
    [
        (np.dtype("f4"), 2, bytes(7), "expected 8 bytes"),
        (np.dtype(bool), 2, b"\0\2", "neither 0 nor 1"),
        (TEXT, 2, bytes(4), "need at least 8 bytes"),
        (TEXT, 2, b"\3\0\0\0abc\0", "inside the length of element 1"),
        (TEXT, 1, b"\5\0\0\0abc", "should have 5 bytes, but only 3"),
        (TEXT, 1, b"\1\0\0\0\xff", "element 0 is not UTF-8"),
        (TEXT, 1, b"\1\0\0\0ab", "1 bytes follow the last"),
        (TEXT, raw_tensors.MOST_ELEMENTS + 1, b"", "at most"),
    ],
)
def test_what_does_not_fit_is_refused(dtype: Any, count: int, data: bytes, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        raw_tensors.decode("x", dtype, count, data)
