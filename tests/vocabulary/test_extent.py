"""How much one request may bring."""

from __future__ import annotations

import pytest

from turnout_server.vocabulary.errors import TooLargeError
from turnout_server.vocabulary.extent import Extent, bounded
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec

SPECS = ((TensorSpec("x", DType.FP32, (-1, -1)),), (TensorSpec("y", DType.FP32, (-1,)),))
ROWS = Signature(*SPECS, max_rows=3)
ELEMENTS = Signature(*SPECS, max_elements=12)


def test_as_many_rows_as_allowed_pass_and_one_more_is_refused() -> None:
    Extent(ROWS).add("x", (3, 1000), rowwise=True)
    with pytest.raises(TooLargeError) as refused:
        Extent(ROWS).add("x", (4, 1), rowwise=True)
    assert refused.value.message == (
        "input 'x' of shape [4, 1]: found 4 rows; one request may have at most 3"
        " (signature.max_rows of its manifest, or limits.max_rows)"
    )
    assert refused.value.details == {"input": "x"}


def test_the_first_axis_of_what_holds_for_all_rows_is_no_row() -> None:
    Extent(ROWS).add("k", (4,), rowwise=False)
    Extent(ROWS).add("scalar", (), rowwise=False)


def test_elements_of_all_inputs_are_added_up_and_the_one_that_is_too_much_is_named() -> None:
    extent = Extent(ELEMENTS)
    extent.add("a", (2, 3), rowwise=True)
    extent.add("b", (6,), rowwise=True)
    with pytest.raises(TooLargeError) as refused:
        extent.add("c", (), rowwise=False)
    assert refused.value.message == (
        "input 'c' of shape []: found 13 elements with those before it; one request may have at most 12"
        " (signature.max_elements of its manifest, or limits.max_elements)"
    )


@pytest.mark.parametrize("shape", [(0, 13), (13, 0), (2**62, 2**62, 0)])
def test_an_empty_tensor_counts_by_its_other_sizes(shape: tuple[int, ...]) -> None:
    with pytest.raises(TooLargeError):
        Extent(ELEMENTS).add("x", shape, rowwise=False)


def test_a_versions_own_bound_goes_before_the_gateways() -> None:
    found = bounded(ROWS, 10, 20)
    assert (found.max_rows, found.max_elements) == (3, 20)
    assert bounded(ELEMENTS, 10, 20).max_elements == 12
