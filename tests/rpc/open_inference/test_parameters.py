"""What requests say beside their tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from turnout_server.rpc.open_inference import parameters
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.errors import InvalidRequestError, NotSupportedError


def given(key: str, **choice: Any) -> dict[str, pb.InferParameter]:
    return {key: pb.InferParameter(**choice)}


@pytest.mark.parametrize(
    ("read", "choice", "value"),
    [
        (parameters.integer, {"int64_param": 3}, 3),
        (parameters.integer, {"uint64_param": 3}, 3),
        (parameters.boolean, {"bool_param": False}, False),
        (parameters.text, {"string_param": "t"}, "t"),
    ],
)
def test_a_parameter_is_read_or_not_there(read: Callable[..., Any], choice: dict[str, Any], value: object) -> None:
    assert read(given("p", **choice), "p") == value
    assert read({}, "p") is None


@pytest.mark.parametrize(
    ("read", "choice", "found"),
    [
        (parameters.integer, {"int64_param": -1}, "found -1"),
        (parameters.integer, {"bool_param": True}, "found True"),
        (parameters.boolean, {"int64_param": 1}, "found 1"),
        (parameters.text, {}, "found nothing"),
        (parameters.text, {"double_param": 0.5}, "found 0.5"),
        (parameters.integer, {"string_param": "x" * 100}, "found 'x{39}\\.\\.\\."),
    ],
)
def test_a_parameter_of_another_kind_is_refused(read: Callable[..., Any], choice: dict[str, Any], found: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"parameter p: .*{found}"):
        read(given("p", **choice), "p")


def test_a_unit_may_be_a_number_and_has_a_limit() -> None:
    assert parameters.unit({}) is None
    assert parameters.unit(given("unit_id", int64_param=-7)) == "-7"
    assert parameters.unit(given("unit_id", string_param="u")) == "u"
    with pytest.raises(InvalidRequestError, match="unit_id: 1025 characters"):
        parameters.unit(given("unit_id", string_param="u" * 1025))


def test_sequences_are_refused_and_their_absence_is_not() -> None:
    for none in ({}, given("sequence_id"), given("sequence_id", int64_param=0), given("sequence_id", string_param="")):
        parameters.refuse_sequences(none)
    with pytest.raises(NotSupportedError, match="sequence_id"):
        parameters.refuse_sequences(given("sequence_id", int64_param=4))
