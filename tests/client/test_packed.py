"""Packed numbers are what protobuf makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout import _packed, v1


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=300))
def test_bytes_become_the_values_and_back(values: list[float]) -> None:
    raw = np.array(values, "<f4").tobytes()
    message = v1.FloatValues.FromString(_packed.field(_packed.VALUES_TAG, raw))
    assert list(message.values) == values
    assert _packed.body(message, 4, len(values)) == raw


@pytest.mark.parametrize(
    ("given", "little"),
    [
        (np.zeros(2, "<f4"), True),
        (np.zeros(2, ">f4"), False),
        (np.zeros(2, "<f8"), False),
        (np.ma.masked_array(np.zeros(2, "<f4"), [True, False]), False),
        ([1.0, 2.0], False),
        (None, False),
    ],
)
def test_only_arrays_whose_bytes_travel_as_they_are(given: Any, little: bool) -> None:
    assert _packed.is_little(given, "<f4") is little
