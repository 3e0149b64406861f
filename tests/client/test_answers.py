"""What comes back, as values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import turnout
from turnout import v1

SPLIT = turnout.Served("ranking", "control", "basket", 3, "SPLIT")


def test_a_reason_of_a_newer_server_is_its_number() -> None:
    assert turnout.answers.read_served(v1.Served(reason=99)).reason == "99"  # type: ignore[arg-type]


def test_a_model_tells_all_that_is_known(client: Any) -> None:
    version = turnout.Version(
        version=3,
        task="price",
        state="AVAILABLE",
        create_time=datetime(2026, 11, 5, 12, tzinfo=UTC),
        framework="lightgbm",
        metrics={"rmse": 517.0},
        inputs=(turnout.Tensor("x", "FP32", (-1, 2), ("carat", "depth")),),
    )
    assert client.model("price") == turnout.Model("price", (version,), {"champion": 3})


@pytest.mark.parametrize(
    ("tensor", "features", "required"),
    [
        (v1.Tensor(name="age", datatype="FP32", shape=[-1, 1]), {"age": None}, True),
        (
            v1.Tensor(name="age", datatype="FP32", shape=[-1], default_value=v1.DefaultValue(number=3)),
            {"age": 3.0},
            False,
        ),
        (
            v1.Tensor(name="on", datatype="BOOL", shape=[1], default_value=v1.DefaultValue(integer=1)),
            {"on": True},
            False,
        ),
        (v1.Tensor(name="t", datatype="BYTES", shape=[-1], default_value=v1.DefaultValue(text="")), {"t": ""}, False),
        (v1.Tensor(name="x", shape=[-1, 2], columns=["a", "b"], column_defaults={"b": 0}), {"a": None, "b": 0.0}, True),
        (v1.Tensor(name="x", shape=[-1, 1], columns=["a"], column_defaults={"a": 0}), {"a": 0.0}, False),
        (v1.Tensor(name="image", datatype="UINT8", shape=[-1, 8, 8]), {}, True),
        (v1.Tensor(name="box", shape=[4], default_value=v1.DefaultValue(number=0)), {}, False),
    ],
)
def test_an_input_says_which_features_it_has_and_whether_it_must_be_sent(
    tensor: v1.Tensor, features: dict[str, Any], required: bool
) -> None:
    read = turnout.answers.read_tensor(tensor)
    assert (read.features, read.required) == (features, required)
    assert [type(one) for one in read.features.values()] == [type(one) for one in features.values()]


def test_a_repr_is_one_short_line() -> None:
    prices = tuple(turnout.Price(number, number / 2, number * 2, SPLIT) for number in range(7))
    assert repr(prices[1]) == "Price(1, 0.5 to 2 by ranking/control -> basket 3 (SPLIT))"
    assert repr(turnout.Prices(prices, SPLIT)).startswith("Prices(0, 1, 2, 3, 4, and 2 more by ranking/control")
    ranking = turnout.Ranking((turnout.Candidate("a", 2.5, 0),), SPLIT)
    assert repr(ranking) == "Ranking(a 2.5 by ranking/control -> basket 3 (SPLIT))"
    assert repr(turnout.Recommendations((turnout.Item("a", 2.5),), SPLIT)).startswith("Recommendations(a 2.5 by ")
