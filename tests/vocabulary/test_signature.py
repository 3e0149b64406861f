"""Which inputs have rows, and whether batches can be taken apart again."""

from __future__ import annotations

import msgspec
import pytest

from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec


def spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, DType.FP32, shape)


@pytest.mark.parametrize(
    ("inputs", "outputs", "batched", "rowwise", "has_batch_axis"),
    [
        ((spec("x", -1, 4), spec("k", 1)), (spec("y", -1),), True, ("x",), True),
        ((spec("x", -1, 4),), (spec("y", -1),), False, (), False),
        ((spec("x", -1, 4),), (spec("y", -1), spec("all", 1)), True, ("x",), False),
        ((spec("k", 1),), (spec("y", -1),), True, (), False),
        ((spec("scalar"),), (spec("y", -1),), True, (), False),
    ],
)
def test_rows_are_the_first_axis_where_that_is_free(
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    batched: bool,
    rowwise: tuple[str, ...],
    has_batch_axis: bool,
) -> None:
    signature = Signature(inputs, outputs, batched)
    assert (signature.rowwise, signature.has_batch_axis) == (rowwise, has_batch_axis)


@pytest.mark.parametrize("given", ["[1, 0]", "[null, 1]", "[0]", "[0, 1e999]"])
def test_a_range_is_two_numbers_in_order(given: str) -> None:
    column = f'{{"name": "a", "range": {given}}}'
    assert msgspec.json.decode(column.replace(given, "[0, 0]"), type=Column).range == (0.0, 0.0)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(column, type=Column)


def test_text_has_no_range() -> None:
    with pytest.raises(ValueError, match="cut: text has no range"):
        TensorSpec("cut", DType.BYTES, (-1,), range=(0.0, 1.0))
