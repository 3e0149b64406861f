"""PricingService translates; the graph predicts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.rpc.turnout_v1.typed_fakes import DECISION, FakeCall, FakeDataPlane
from turnout import v1 as pb
from turnout_server.rpc.turnout_v1 import typed
from turnout_server.rpc.turnout_v1.pricing import PricingService
from turnout_server.vocabulary.errors import (
    InvalidFeatureError,
    InvalidRequestError,
    MissingFeatureError,
    UnknownFeatureError,
    UnknownOutputError,
)
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Array, Arrays

CARAT = TensorSpec("carat", DType.FP32, (-1, 1))
CUT = TensorSpec("cut", DType.BYTES, (-1, 1), default="good")
SIGNATURE = Signature(inputs=(CARAT, CUT), outputs=())


def graph(arrays: Arrays) -> dict[str, Array]:
    """Price a row at 100 a carat, and twice that for an ideal cut, give or take 10."""
    price = (arrays["carat"] * 100 * np.where(arrays["cut"] == "ideal", 2, 1)).reshape(-1)
    return {"low": price - 10, "high": price + 10, "price": price}


async def predict(*columns: pb.FeatureColumn, plane: FakeDataPlane | None = None) -> pb.PredictPriceResponse:
    request = pb.PredictPriceRequest(selector=pb.Selector(name="price"), features=columns)
    return await PricingService(plane or FakeDataPlane(SIGNATURE, graph)).PredictPrice(request, FakeCall())


def floats(name: str, *values: float) -> pb.FeatureColumn:
    return pb.FeatureColumn(name=name, floats=pb.FloatValues(values=values))


def strings(name: str, *values: str) -> pb.FeatureColumn:
    return pb.FeatureColumn(name=name, strings=pb.StringValues(values=values))


def prices(answer: pb.PredictPriceResponse) -> list[tuple[float, float, float]]:
    return [(one.low, one.price, one.high) for one in answer.prices]


async def test_each_row_gets_a_price_and_an_interval_in_the_requests_order() -> None:
    plane = FakeDataPlane(SIGNATURE, graph)
    answer = await predict(strings("cut", "ideal", "fair"), floats("carat", 1, 2.5), plane=plane)
    assert prices(answer) == [(190, 200, 210), (240, 250, 260)]
    assert answer.served == typed.served(DECISION, "the-request")
    assert plane.queries[0].task is Task.PRICE
    assert plane.queries[0].outputs == ("price", "low", "high")


async def test_a_single_value_stands_for_all_rows_and_defaults_fill_the_rest() -> None:
    assert len(prices(await predict(strings("cut", "ideal"), floats("carat", 1, 2, 3)))) == 3
    assert prices(await predict(floats("carat", 1))) == [(90, 100, 110)]


async def test_no_features_at_all_are_one_row_of_defaults_where_the_model_has_them() -> None:
    carat = TensorSpec("carat", DType.FP32, (-1, 1), default=0.7)
    answer = await predict(plane=FakeDataPlane(Signature(inputs=(carat, CUT), outputs=()), graph))
    assert [round(one.price) for one in answer.prices] == [70]
    with pytest.raises(MissingFeatureError, match="'carat'"):
        await predict()


async def test_columns_of_no_rows_get_no_prices() -> None:
    answer = await predict(floats("carat"), strings("cut"))
    assert prices(answer) == []
    assert answer.served == typed.served(DECISION, "the-request")


async def test_wrong_features_are_refused_by_name() -> None:
    with pytest.raises(UnknownFeatureError, match=r"'colour'.*'carat', 'cut'"):
        await predict(floats("carat", 1), strings("colour", "E"))
    with pytest.raises(InvalidFeatureError, match="'carat': found text"):
        await predict(strings("carat", "1"))
    with pytest.raises(InvalidFeatureError, match="'cut': found numbers"):
        await predict(floats("carat", 1), floats("cut", 1))
    with pytest.raises(InvalidFeatureError, match="'cut': found 2 values; expected 1 or 3"):
        await predict(floats("carat", 1, 2, 3), strings("cut", "ideal", "fair"))
    with pytest.raises(InvalidFeatureError, match="'carat': stands twice"):
        await predict(floats("carat", 1), floats("carat", 1))


async def test_too_many_rows_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="10001 rows"):
        await predict(floats("carat", *range(10_001)))


async def test_a_model_without_an_interval_is_refused() -> None:
    with pytest.raises(UnknownOutputError, match="'low'"):
        await predict(floats("carat", 1), plane=FakeDataPlane(SIGNATURE, lambda arrays: {"price": np.zeros(1)}))


async def test_a_matrix_says_how_many_rows_there_are() -> None:
    request = pb.PredictPriceRequest(
        selector=pb.Selector(name="price"),
        features=[strings("cut", "ideal")],
        feature_matrix=pb.FeatureMatrix(names=["carat"], values=[1, 2]),
    )
    answer = await PricingService(FakeDataPlane(SIGNATURE, graph)).PredictPrice(request, FakeCall())
    assert prices(answer) == [(190.0, 200.0, 210.0), (390.0, 400.0, 410.0)]


async def test_a_matrix_holds_no_text() -> None:
    request = pb.PredictPriceRequest(
        selector=pb.Selector(name="price"), feature_matrix=pb.FeatureMatrix(names=["carat", "cut"], values=[1, 2])
    )
    with pytest.raises(InvalidFeatureError, match="found numbers; the model takes text"):
        await PricingService(FakeDataPlane(SIGNATURE, graph)).PredictPrice(request, FakeCall())
