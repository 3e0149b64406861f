"""What a sample says of features."""

from __future__ import annotations

import math
from typing import Any

from turnout_server.tasks.ranges import ENOUGH, learned
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec

NUMBERS: list[Any] = [float(number) for number in range(ENOUGH)]
SIGNATURE = Signature(
    (
        TensorSpec("x", DType.FP32, (-1, 3), columns=(Column("a"), Column("b", range=(0.0, 1.0)), Column("c"))),
        TensorSpec("n", DType.INT64, (-1, 1)),
        TensorSpec("cut", DType.BYTES, (-1,)),
        TensorSpec("k", DType.INT64, (1,)),
    ),
    (),
)


def test_features_get_what_the_sample_has_and_keep_what_they_have() -> None:
    columns = {
        "a": [*NUMBERS, math.nan, math.inf, 10**400, -3],
        "b": NUMBERS,
        "n": NUMBERS,
        "cut": NUMBERS,
        "k": NUMBERS,
    }
    matrix, number, *others = learned(SIGNATURE, columns).inputs
    assert [column.range for column in matrix.columns] == [(-3.0, ENOUGH - 1.0), (0.0, 1.0), None]
    assert number.range == (0.0, ENOUGH - 1.0)
    assert [spec.range for spec in others] == [None, None]


def test_a_few_rows_say_nothing() -> None:
    few = [*NUMBERS[1:], math.nan]
    assert learned(SIGNATURE, {"a": few, "n": few}) == SIGNATURE
    assert learned(SIGNATURE, {}) == SIGNATURE


def test_what_is_no_number_says_nothing() -> None:
    assert learned(SIGNATURE, {"a": ["x"] * ENOUGH, "n": [True] * ENOUGH}) == SIGNATURE
