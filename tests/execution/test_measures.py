"""What requests come to, by their signature alone."""

from __future__ import annotations

import numpy as np
import pytest

from turnout_server.execution.measures import Measures, outputs_wanted
from turnout_server.vocabulary.errors import UnknownOutputError
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import Arrays

PLAIN = Measures(Signature((TensorSpec("x", DType.FP32, (-1, 3)),), ()))
WIDE = Measures(Signature((TensorSpec("x", DType.FP32, (-1, -1)), TensorSpec("k", DType.INT64, ())), ()))
FIXED = Measures(Signature((TensorSpec("x", DType.FP32, (3,)),), ()))
OUTPUTS = ("y", "version")


def wide(rows: int, width: int, k: int = 1) -> Arrays:
    return {"x": np.zeros((rows, width), np.float32), "k": np.array(k)}


def test_rows_are_those_of_the_batch_axis_else_of_the_first_one() -> None:
    assert PLAIN.rows({"x": np.zeros((4, 3), np.float32)}) == 4
    assert WIDE.rows(wide(2, 5)) == 2
    assert FIXED.rows({"x": np.zeros(3, np.float32)}) == 3
    assert Measures(Signature((TensorSpec("k", DType.INT64, ()),), ())).rows({"k": np.array(1)}) == 1


def test_a_size_is_the_rows_where_no_other_axis_is_free() -> None:
    assert (PLAIN.size({"x": np.zeros((4, 3), np.float32)}, 4), PLAIN.size({"x": np.zeros((0, 3))}, 0)) == (4, 1)
    assert WIDE.size(wide(2, 5), 2) == 10


def test_texts_count_with_their_letters() -> None:
    texts = Measures(Signature((TensorSpec("t", DType.BYTES, (-1,)),), ()))
    given = np.array(["a" * 100, "b"], object)
    assert texts.nbytes({"t": given}) == given.nbytes + 101


def test_what_differs_beside_the_rows_keeps_requests_apart() -> None:
    assert PLAIN.key({"x": np.zeros((4, 3))}, OUTPUTS) == PLAIN.key({"x": np.zeros((1, 3))}, OUTPUTS)
    key = WIDE.key(wide(2, 5), OUTPUTS)
    assert key == WIDE.key(wide(7, 5), OUTPUTS)
    assert key not in (WIDE.key(wide(2, 6), OUTPUTS), WIDE.key(wide(2, 5, k=2), OUTPUTS), WIDE.key(wide(2, 5), ("y",)))


def test_what_is_too_large_to_compare_runs_alone() -> None:
    shared = Measures(Signature((TensorSpec("x", DType.FP32, (-1,)), TensorSpec("w", DType.FP32, (257,))), ()))
    given = {"x": np.zeros(2, np.float32), "w": np.zeros(257, np.float32)}
    assert shared.key(given, OUTPUTS) is None


def test_outputs_are_all_unless_some_are_wanted_which_have_to_be_there() -> None:
    assert outputs_wanted(OUTPUTS, ()) == OUTPUTS
    assert outputs_wanted(OUTPUTS, ("version",)) == ("version",)
    with pytest.raises(UnknownOutputError, match="no output named 'z'; the model has 'y', 'version'"):
        outputs_wanted(OUTPUTS, ("y", "z"))
