"""What goes out, and what is refused before it does."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from tests.client.fake import FakeGateway
from turnout import calls


@pytest.mark.parametrize(
    "arguments",
    [{}, {"candidates": {}, "ids": []}, {"candidates": {}, "columns": {}}, {"columns": {"x": [1]}}],
)
def test_candidates_come_in_one_form(client: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="either candidates="):
        client.rank("ranking", **arguments)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: c.rank("r", {"a": {"brand": "x"}, "b": {}}), ValueError, "feature 'brand': candidate 'b' has none"),
        (lambda c: c.rank("r", {"a": {"x": []}}), TypeError, "feature 'x': candidate 'a' has a list"),
        (lambda c: c.rank("r", {"a": {}}, context={"h": [1, 2]}), TypeError, "feature 'h': the context has a list"),
        (lambda c: c.rank("r", ids=["a"], columns={"x": [1, 2]}), ValueError, "has 2 values where the ids"),
        (
            lambda c: c.rank("r", ids=[1.5], columns={}),
            TypeError,
            "ids: ids are text or integers; found 1.5 at position 0",
        ),
        (lambda c: c.rank("r", {}, k=0), ValueError, "k must be 1 or more"),
        (lambda c: c.recommend("r", "milk"), TypeError, "history is a list of ids; found the text 'milk'"),
        (lambda c: c.recommend("r", [], exclude="milk"), TypeError, "exclude is a list of ids"),
        (lambda c: c.recommend("r", [], unit=7), TypeError, "unit must be text; found 7"),
        (lambda c: c.recommend(None, []), TypeError, "route must be text; found None"),
        (lambda c: c.predict_price("r", {"x": [1]}), TypeError, "feature 'x': the row has a list"),
        (lambda c: c.predict_prices("r", {"x": 1}), TypeError, "one row is for predict_price"),
        (lambda c: c.predict_prices("r"), TypeError, "either rows="),
        (lambda c: c.predict_prices("r", [3]), TypeError, "row 0 is a int; expected {feature: value}"),
        (lambda c: c.predict_price("r", 3), TypeError, "the row is a int; expected {feature: value}"),
        (lambda c: c.predict_price("r", pd.DataFrame({"x": [1, 2]})), ValueError, "the DataFrame has 2 rows"),
        (lambda c: c.rank("r", ids="id", columns=pd.DataFrame({"x": [1]})), ValueError, "no column 'id'; there are x"),
        (lambda c: c.rank("r", pd.DataFrame({"x": [1]}, index=[0.5])), TypeError, "ids are text or integers"),
        (lambda c: c.infer("m", {"x": 1}, outputs="score"), TypeError, "outputs is a list of names; found the text"),
        (lambda c: c.infer("m", {"x": 1}, outputs=[3]), TypeError, "outputs must be text; found 3"),
        (lambda c: c.infer("m", {"x": ["a", None]}), ValueError, "feature 'x': value 1 has none"),
        (lambda c: c.infer("m", 3), TypeError, "found a int; expected a dict, rows, a DataFrame or an array"),
        (lambda c: c.set_label("m", "l", 0), ValueError, "version must be 1 or more; found 0"),
        (lambda c: c.model("m", timeout=0), ValueError, "timeout must be more than 0"),
        (lambda c: c.model("m", timeout="1"), TypeError, "timeout must be seconds"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_sending(
    gateway: FakeGateway, client: Any, call: Callable[[Any], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(client)
    assert gateway.seen == []


def test_the_methods_are_those_of_the_protos() -> None:
    """Paths and responses agree with the descriptors, and none is left out."""
    files = (
        "recommendation_service",
        "ranking_service",
        "pricing_service",
        "inference_service",
        "model_service",
        "outcome_service",
        "route_service",
    )
    described = {
        f"/{service.full_name}/{method.name}": method.output_type.full_name
        for file in files
        for service in importlib.import_module(f"turnout.v1.{file}_pb2").DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if not method.client_streaming  # `outcome` sends batches of its own
    }
    ours = {
        method.path: method.response.DESCRIPTOR.full_name
        for method in calls.METHODS
        if method.service.startswith("turnout.")
    }
    assert ours == described


def test_integer_ids_travel_as_text(gateway: FakeGateway, client: Any) -> None:
    client.recommend("next", [4711, "item-0"], exclude=[12], unit="u")
    sent = gateway.seen[0].request
    assert (sent.history_item_ids, sent.excluded_item_ids) == (["4711", "item-0"], ["12"])
