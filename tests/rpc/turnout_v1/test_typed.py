"""What the typed services have in common."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rpc.turnout_v1.typed_fakes import FakeCall
from turnout import v1 as pb
from turnout_server.rpc.turnout_v1 import typed
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.errors import InvalidFeatureError, InvalidRequestError
from turnout_server.vocabulary.query import Query
from turnout_server.vocabulary.task import Task


def query(selector: pb.Selector, call: FakeCall) -> Query:
    return typed.query(selector, call, Task.PRICE, lambda signature: {}, ("price",))


def test_a_selector_and_a_call_make_a_query() -> None:
    call = FakeCall({"x-qa": "on"}, deadline=12.5)
    made = query(pb.Selector(name="price", version="champion", unit="user-1"), call)
    assert (made.name, made.version, made.unit, made.task) == ("price", "champion", "user-1", Task.PRICE)
    assert (made.headers, made.deadline, made.outputs) == ({"x-qa": "on"}, 12.5, ("price",))


@pytest.mark.parametrize(("unit", "expected"), [("", "from-metadata"), ("own", "own")])
def test_the_requests_own_unit_wins_over_the_metadatas(unit: str, expected: str) -> None:
    call = FakeCall({"x-turnout-unit": "from-metadata"})
    assert query(pb.Selector(name="price", unit=unit), call).unit == expected


def test_a_selector_without_name_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="name: is empty"):
        query(pb.Selector(unit="u"), FakeCall())


def test_every_reason_has_its_name_on_the_wire() -> None:
    for reason in Reason:
        message = typed.served(Decision("r", "t", "m", 3, reason))
        assert pb.Reason.Name(message.reason) == f"REASON_{reason.name}"
        assert (message.route, message.target, message.model, message.version) == ("r", "t", "m", 3)


@given(values=st.lists(st.floats(width=32), max_size=300))
def test_floats_arrive_as_they_are(values: list[float]) -> None:
    sent = pb.FeatureColumn(name="a", floats=pb.FloatValues(values=values)).SerializeToString()
    (column,) = typed.feature_columns([pb.FeatureColumn.FromString(sent)])
    assert column.values.dtype == np.float32
    np.testing.assert_array_equal(column.values, np.array(values, np.float32))


def test_floats_arrive_as_they_are_in_any_number() -> None:
    for count in (0, 1, 2, 31, 32, 4095, 4096, 600_000):
        values = np.arange(count, dtype=np.float32)
        (column,) = typed.feature_columns([pb.FeatureColumn(name="a", floats=pb.FloatValues(values=values))])
        np.testing.assert_array_equal(column.values, values)
        assert column.values.flags.owndata == (count < 2), "many are viewed, not taken out one by one"


def test_floats_that_a_message_does_not_begin_with_arrive_too() -> None:
    """Where unknown fields are written is protobuf's choice."""

    class UnknownFieldsFirst:
        name = "a"
        values = (1.0, 2.0, 3.0)

        @property
        def floats(self) -> UnknownFieldsFirst:
            return self

        def WhichOneof(self, oneof: str) -> str:  # noqa: N802
            return "floats"

        def SerializeToString(self) -> bytes:  # noqa: N802
            return b"\x12\x04abcd" + pb.FloatValues(values=self.values).SerializeToString()

    (column,) = typed.feature_columns([UnknownFieldsFirst()])  # type: ignore[list-item]
    assert column.values.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("place", ["before", "after"])
def test_fields_of_a_later_release_do_not_shift_the_values(place: str) -> None:
    known = pb.FloatValues(values=[1.0, 2.0, 3.0]).SerializeToString()
    unknown = b"\x12\x04abcd"
    message = pb.FloatValues.FromString(unknown + known if place == "before" else known + unknown)
    (column,) = typed.feature_columns([pb.FeatureColumn(name="a", floats=message)])
    assert column.values.tolist() == [1.0, 2.0, 3.0]


def test_floats_that_were_not_packed_arrive_too() -> None:
    message = pb.FloatValues.FromString(b"\x0d\x00\x00\x80\x3f\x0d\x00\x00\x00\x40")
    (column,) = typed.feature_columns([pb.FeatureColumn(name="a", floats=message)])
    assert column.values.tolist() == [1.0, 2.0]


@given(integers=st.lists(st.integers(-(2**63), 2**63 - 1)), strings=st.lists(st.text()))
def test_integers_and_text_arrive_as_they_are(integers: list[int], strings: list[str]) -> None:
    whole, text = typed.feature_columns(
        [
            pb.FeatureColumn(name="a", integers=pb.IntegerValues(values=integers)),
            pb.FeatureColumn(name="b", strings=pb.StringValues(values=strings)),
        ]
    )
    assert (whole.name, whole.values.tolist(), whole.values.dtype) == ("a", integers, np.int64)
    assert (text.name, text.values.tolist(), text.values.dtype) == ("b", strings, object)


def test_a_column_without_values_of_any_type_is_refused_by_name() -> None:
    with pytest.raises(InvalidFeatureError, match="'carat': has no values"):
        typed.feature_columns([pb.FeatureColumn(name="carat")])
