"""BF16, which NumPy does not have."""

from __future__ import annotations

import numpy as np
import pytest

from turnout_server.vocabulary.tensors import bf16_of, fp32_of


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (0.0, 0x0000),
        (-1.5, 0xBFC0),
        (float("inf"), 0x7F80),
        (float("nan"), 0x7FC0),
        (1.00390625, 0x3F80),  # between two: to the even one
        (1.01171875, 0x3F82),
        (1.0039065, 0x3F81),
        (3.4e38, 0x7F80),
    ],
)
def test_floats_are_rounded_to_the_nearest(value: float, bits: int) -> None:
    assert bf16_of(np.array([[value]], np.float32)).tolist() == [[bits]]


def test_all_but_nan_come_back() -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    numbers = every[~np.isnan(fp32_of(every))]
    assert (bf16_of(fp32_of(numbers)) == numbers).all()
