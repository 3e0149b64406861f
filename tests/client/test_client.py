"""Both clients, against a real server: what goes out, and what comes back."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest

import turnout
from tests.client.conftest import Connect
from tests.client.fake import Failure, FakeGateway
from turnout import v1

SPLIT = turnout.Served("ranking", "control", "basket", 3, "SPLIT")


CANDIDATES = {"milk-1": {"price": 3.25, "discount": 0.25}, "milk-2": {"price": 4.5}}


def test_candidates_come_back_best_first(client: Any) -> None:
    ranking = client.rank("ranking", {"a": {"x": 1.0}, "b": {"x": 3.0}, "c": {"x": 2.0}}, unit="customer-7")
    assert ranking.ids == ["b", "c", "a"]
    assert ranking.candidates[0] == turnout.Candidate("b", 3.0, 1)
    assert [candidate.score for candidate in ranking] == [3.0, 2.0, 1.0]
    assert len(ranking) == 3
    assert ranking.served == SPLIT
    assert str(ranking.served) == "ranking/control -> basket 3 (SPLIT)"


def test_rows_of_candidates_travel_as_columns(gateway: FakeGateway, client: Any) -> None:
    client.rank("ranking", CANDIDATES, context={"hour": 18, "store": "north"}, unit="customer-7", k=1)
    (seen,) = gateway.seen
    assert seen.request.selector == v1.Selector(name="ranking", unit="customer-7")
    assert seen.request.candidate_ids == ["milk-1", "milk-2"]
    matrix = seen.request.candidate_matrix
    assert (matrix.names, matrix.values[:3]) == (["price", "discount"], [3.25, 0.25, 4.5])
    assert math.isnan(matrix.values[3]), "a feature that the last candidate lacks"
    assert seen.request.context_features[0].integers.values == [18]
    assert seen.request.context_features[1].strings.values == ["north"]
    assert seen.request.top_k == 1


def test_columns_of_candidates_travel_as_one_matrix(gateway: FakeGateway, client: Any) -> None:
    table = np.random.default_rng(0).normal(size=(500, 60)).astype(np.float32)
    columns = {f"f{number}": table[:, number] for number in range(60)}
    ids = [str(number) for number in range(500)]
    ranking = client.rank("ranking", ids=ids, columns=columns, unit="u")
    whole = client.rank("ranking", ids=ids, columns={tuple(columns): table}, unit="u")
    first, second = (seen.request for seen in gateway.seen)
    assert first == second
    assert (len(first.candidate_matrix.names), first.candidate_features) == (60, [])
    assert np.array_equal(np.array(first.candidate_matrix.values, np.float32).reshape(500, 60), table)
    assert whole.ids == ranking.ids
    assert ranking.ids == [str(number) for number in np.argsort(-table.sum(axis=1, dtype=np.float64), kind="stable")]


def test_ids_may_be_an_array(client: Any) -> None:
    assert client.rank("ranking", ids=np.array(["a", "b"]), columns={"x": [1, 2]}).ids == ["b", "a"]


def test_recommendations_leave_out_what_they_must(gateway: FakeGateway, client: Any) -> None:
    found = client.recommend("next", ["item-0"], exclude=["item-1"], k=2, unit="u")
    assert found.ids == ["item-2", "item-3"]
    assert found.items[0] == turnout.Item("item-2", 1.0)
    assert [item.id for item in found] == found.ids
    assert len(found) == 2
    assert found.served.reason == "SPLIT"
    assert gateway.seen[0].request.history_item_ids == ["item-0"]


def test_one_article_has_one_price(client: Any) -> None:
    price = client.predict_price("price", {"carat": 0.5, "cut": "Ideal"}, unit="u")
    assert (price.price, price.low, price.high) == (50.0, 25.0, 100.0)
    assert price.served.model == "diamonds"


@pytest.mark.parametrize(
    "articles",
    [
        {"rows": [{"carat": 0.5, "cut": "Ideal"}, {"carat": 1.0, "cut": "Good"}]},
        {"columns": {"carat": [0.5, 1.0], "cut": "Ideal"}},
        {"columns": {"carat": np.array([0.5, 1.0]), "cut": np.array(["Ideal", "Good"])}},
    ],
)
def test_several_articles_have_their_prices_in_order(client: Any, articles: dict[str, Any]) -> None:
    prices = client.predict_prices("price", **articles)
    assert [price.price for price in prices] == [50.0, 100.0]
    assert prices.prices[0].served == prices.served
    assert len(prices) == 2


# ---------------------------------------------------------------- any model


def test_any_model_is_asked_by_name(gateway: FakeGateway, client: Any) -> None:
    answer = client.infer(
        "churn", {"age": [30, 40.5], "city": "Berlin", "image": np.ones((2, 1, 2), np.uint8)}, unit="u"
    )
    assert answer["total"].dtype == np.float32
    assert answer["total"].tolist() == [30.0, 40.5]
    assert answer["image"].shape == (2, 1, 2)
    assert str(answer.served) == "churn/control -> anything 3 (SPLIT)"
    (seen,) = gateway.seen
    assert seen.request.selector == v1.Selector(name="churn", unit="u")


def test_outputs_are_chosen_in_order(client: Any) -> None:
    answer = client.infer("churn", {"b": [[1]], "a": [[2]]}, outputs=["a", "b"])
    assert list(answer) == ["a", "b"]
    assert client.infer("churn", {"a": [[2]]}, outputs=["a"], version=4).served.version == 4


def test_a_frame_is_answered_with_a_frame(client: Any) -> None:
    sent = pd.DataFrame({"age": [30.5, 40.5], "score": [1.0, 2.0]}, index=["x", "y"])
    frame = client.infer("churn", sent).frame()
    assert (list(frame.index), frame["total"].tolist()) == (["x", "y"], [31.5, 42.5])


def test_a_bare_array_is_named_by_the_signature_which_is_asked_for_once(gateway: FakeGateway, client: Any) -> None:
    for _ in range(2):
        assert client.infer("price", np.array([[1.0, 2.0]]))["x"].tolist() == [[1.0, 2.0]]
    assert gateway.methods == ["GetRoute", "GetModel", "Infer", "Infer"]
    gateway.failures.append(Failure(grpc.StatusCode.INVALID_ARGUMENT))
    with pytest.raises(turnout.InvalidRequestError):
        client.infer("price", [[1.0, 2.0]])
    client.infer("price", [[1.0, 2.0]])
    assert gateway.methods[4:] == ["Infer", "GetRoute", "GetModel", "Infer"], "by then the model may be another one"


def test_a_bare_array_refused_by_a_new_version_is_sent_again_as_that_version_takes_it(
    gateway: FakeGateway, client: Any
) -> None:
    client.infer("price", [[1.0, 2.0]])
    gateway.inputs = [v1.Tensor(name="y", datatype="FP32", shape=[-1, 2])]
    gateway.failures.append(Failure(grpc.StatusCode.INVALID_ARGUMENT))
    assert "y" in client.infer("price", [[1.0, 2.0]])
    assert gateway.methods[3:] == ["Infer", "GetRoute", "GetModel", "Infer"]


def test_a_bare_array_that_only_a_new_version_takes_is_not_refused_by_an_old_signature(
    gateway: FakeGateway, client: Any
) -> None:
    gateway.inputs = [v1.Tensor(name=name, datatype="FP32", shape=[-1]) for name in ("a", "b")]
    client.infer("price", [[1.0, 2.0]])
    gateway.inputs.append(v1.Tensor(name="c", datatype="FP32", shape=[-1]))
    assert client.infer("price", [[1.0, 2.0, 3.0]])["total"].tolist() == [6.0]


def test_a_route_or_model_is_described(gateway: FakeGateway, client: Any) -> None:
    assert client.describe("price").inputs == (turnout.Tensor("x", "FP32", (-1, 2), ("carat", "depth")),)
    gateway.failures.append(Failure(grpc.StatusCode.NOT_FOUND, "no such route"))
    assert client.describe("diamonds", version=3).version == 3
    gateway.failures.extend([Failure(grpc.StatusCode.NOT_FOUND, "no such route"), Failure(grpc.StatusCode.NOT_FOUND)])
    with pytest.raises(turnout.NotFoundError, match="no such route"):
        client.describe("nope")


# ---------------------------------------------------------------- frames in the typed calls


def test_frames_are_candidates(client: Any) -> None:
    frame = pd.DataFrame({"price": [1.0, 3.0, 2.0]}, index=["a", "b", "c"])
    by_label = client.rank("ranking", frame, unit="u")
    assert by_label.ids == ["b", "c", "a"]
    assert client.rank("ranking", ids=frame.index, columns=frame, unit="u") == by_label
    assert client.rank("ranking", ids="id", columns=frame.rename_axis("id").reset_index(), unit="u") == by_label
    assert client.rank("ranking", ids=pd.Series(["a", "b", "c"]), columns=frame, unit="u") == by_label
    assert client.rank("ranking", frame.reset_index(drop=True)).ids == ["1", "2", "0"]


def test_polars_frames_are_candidates(client: Any) -> None:
    pl = pytest.importorskip("polars", reason="polars is not among the requirements")
    frame = pl.DataFrame({"id": ["a", "b"], "price": [1.0, 3.0]})
    assert client.rank("ranking", ids="id", columns=frame).ids == ["b", "a"]
    assert client.rank("ranking", ids=frame["id"], columns=frame.drop("id")).ids == ["b", "a"]
    with pytest.raises(TypeError, match="rows of Polars have no labels"):
        client.rank("ranking", frame)


def test_frames_are_articles(client: Any) -> None:
    frame = pd.DataFrame({"carat": [0.5, 1.0], "cut": ["Ideal", "Good"]})
    rows = client.predict_prices("price", frame.to_dict("records"))
    assert client.predict_prices("price", frame) == rows
    assert client.predict_prices("price", columns=frame) == rows
    assert client.predict_price("price", frame[:1]) == rows.prices[0]
    assert client.predict_price("price", frame.iloc[0]) == rows.prices[0]
    assert client.predict_prices("price", [row for _, row in frame.iterrows()]) == rows


@pytest.mark.parametrize("version", [4, "4"])
def test_a_version_pins(client: Any, version: int | str) -> None:
    assert client.recommend("next", [], version=version).served == turnout.Served("", "", "next-basket", 4, "PINNED")


def test_a_call_has_its_own_unit_or_the_clients(gateway: FakeGateway, connect: Connect) -> None:
    client = connect(unit="device-1")
    client.recommend("next", [])
    client.recommend("next", [], unit="device-2")
    client.recommend("next", [], unit="")
    assert [seen.request.selector.unit for seen in gateway.seen] == ["device-1", "device-2", ""]


def test_models_are_listed_page_by_page(gateway: FakeGateway, client: Any) -> None:
    assert [model.name for model in client.models()] == ["a", "b", "c", "d", "e"]
    assert gateway.methods == ["ListModels"] * 3


def test_labels_move_and_go(client: Any) -> None:
    assert client.set_label("price", "canary", 4, expected_version=0).labels == {"champion": 3, "canary": 4}
    assert client.remove_label("price", "canary", expected_version=4).labels == {"champion": 3}


def test_a_label_that_moved_meanwhile_stays(client: Any) -> None:
    with pytest.raises(turnout.ConflictError) as caught:
        client.set_label("price", "champion", 4, expected_version=2)
    assert caught.value.reason == "STALE_WRITE"


def test_routes_are_applied_and_checked(gateway: FakeGateway, client: Any) -> None:
    assert client.apply_routes("routes: {}", expected_digest="d1", validate_only=True) == "10:True"
    assert gateway.seen[0].request.expected_digest == "d1"


def test_health_is_the_standard_service(client: Any) -> None:
    assert client.health() == "SERVING"
    with pytest.raises(turnout.NotFoundError):
        client.health("no.such.Service")


def test_threads_share_a_client(gateway: FakeGateway) -> None:
    with turnout.Client(gateway.target) as client, ThreadPoolExecutor(8) as threads:
        units = [f"unit-{number}" for number in range(100)]
        answered = threads.map(lambda unit: client.recommend("next", [], exclude=[unit], unit=unit).ids[0], units)
        assert list(answered) == ["item-0"] * 100
    assert sorted(seen.request.selector.unit for seen in gateway.seen) == sorted(units)


def test_a_closed_client_says_so(client: Any) -> None:
    client.health()
    client.close()
    client.close()
    with pytest.raises(ValueError, match="this client is closed"):
        client.health()
