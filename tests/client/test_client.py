"""Both clients, against a real server: what goes out, and what comes back."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

import turnout
from tests.client.conftest import Connect
from tests.client.fake import FakeGateway
from turnout import calls, v1

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
    assert [column.name for column in seen.request.candidate_features] == ["price", "discount"]
    assert seen.request.candidate_features[0].floats.values == [3.25, 4.5]
    assert seen.request.context_features[0].integers.values == [18]
    assert seen.request.context_features[1].strings.values == ["north"]
    assert seen.request.top_k == 1


def test_columns_of_candidates_travel_as_they_are(client: Any) -> None:
    table = np.random.default_rng(0).normal(size=(500, 60)).astype(np.float32)
    columns = {f"f{number}": table[:, number] for number in range(60)}
    ranking = client.rank("ranking", ids=[str(number) for number in range(500)], columns=columns, unit="u")
    assert ranking.ids == [str(number) for number in np.argsort(-table.sum(axis=1, dtype=np.float64), kind="stable")]


def test_ids_may_be_an_array(client: Any) -> None:
    assert client.rank("ranking", ids=np.array(["a", "b"]), columns={"x": [1, 2]}).ids == ["b", "a"]


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


@pytest.mark.parametrize("version", [4, "4"])
def test_a_version_pins(client: Any, version: int | str) -> None:
    assert client.recommend("next", [], version=version).served == turnout.Served("", "", "next-basket", 4, "PINNED")


def test_a_reason_of_a_newer_server_is_its_number() -> None:
    assert turnout.answers.read_served(v1.Served(reason=99)).reason == "99"  # type: ignore[arg-type]


def test_a_call_has_its_own_unit_or_the_clients(gateway: FakeGateway, connect: Connect) -> None:
    client = connect(unit="device-1")
    client.recommend("next", [])
    client.recommend("next", [], unit="device-2")
    client.recommend("next", [], unit="")
    assert [seen.request.selector.unit for seen in gateway.seen] == ["device-1", "device-2", ""]


def test_models_are_listed_page_by_page(gateway: FakeGateway, client: Any) -> None:
    assert [model.name for model in client.models()] == ["a", "b", "c", "d", "e"]
    assert gateway.methods == ["ListModels"] * 3


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


def test_labels_move_and_go(client: Any) -> None:
    assert client.set_label("price", "canary", 4, expected_version=0).labels == {"champion": 3, "canary": 4}
    assert client.remove_label("price", "canary", expected_version=4).labels == {"champion": 3}


def test_a_label_that_moved_meanwhile_stays(client: Any) -> None:
    with pytest.raises(turnout.ConflictError) as caught:
        client.set_label("price", "champion", 4, expected_version=2)
    assert caught.value.reason == "STALE_WRITE"


def test_the_route_table_is_joined_from_its_pages(client: Any) -> None:
    """Its digest is the first page's: a table that changed meanwhile must not pass for the one that was read."""
    table = client.routes()
    assert [route.name for route in table] == ["price", "ranking"]
    assert (table.digest, table.problem, len(table)) == ("d1", "$.routes: no", 2)


def test_a_route_tells_all_that_is_known(client: Any) -> None:
    assert client.route("price") == turnout.Route(
        name="price",
        task="price",
        salt="salt",
        targets=(
            turnout.Target("control", "diamonds", "champion", 90.0, 3),
            turnout.Target("canary", "diamonds", "challenger", 10.0, None),
        ),
        overrides=(turnout.Override("canary", {"x-qa": "on"}, ("u1",)),),
        mirrors=(turnout.Mirror("diamonds", "7", 0.05),),
        fallback="control",
    )


def test_an_assignment_says_whether_an_override_made_it(client: Any) -> None:
    assert client.assign("ranking", "u") == turnout.Assignment(SPLIT, None)
    overridden = client.assign("ranking", "u", headers={"x-qa": "on"})
    assert (overridden.served.reason, overridden.override) == ("OVERRIDE", 0)


def test_routes_are_applied_and_checked(gateway: FakeGateway, client: Any) -> None:
    assert client.apply_routes("routes: {}", expected_digest="d1", validate_only=True) == "10:True"
    assert gateway.seen[0].request.expected_digest == "d1"


def test_health_is_the_standard_service(client: Any) -> None:
    assert client.health() == "SERVING"
    with pytest.raises(turnout.NotFoundError):
        client.health("no.such.Service")


def test_the_methods_are_those_of_the_protos() -> None:
    """Paths and responses agree with the descriptors, and none is left out."""
    files = ("recommendation_service", "ranking_service", "pricing_service", "model_service", "route_service")
    described = {
        f"/{service.full_name}/{method.name}": method.output_type.full_name
        for file in files
        for service in importlib.import_module(f"turnout.v1.{file}_pb2").DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    ours = {
        method.path: method.response.DESCRIPTOR.full_name
        for method in calls.METHODS
        if method.service.startswith("turnout.")
    }
    assert ours == described


def test_threads_share_a_client(gateway: FakeGateway) -> None:
    with turnout.Client(gateway.target) as client, ThreadPoolExecutor(8) as threads:
        units = [f"unit-{number}" for number in range(100)]
        answered = threads.map(lambda unit: client.recommend("next", [], exclude=[unit], unit=unit).ids[0], units)
        assert list(answered) == ["item-0"] * 100
    assert sorted(seen.request.selector.unit for seen in gateway.seen) == sorted(units)


async def test_tasks_share_a_client(gateway: FakeGateway) -> None:
    async with turnout.AsyncClient(gateway.target) as client:
        found = await asyncio.gather(*(client.recommend("next", [], k=k) for k in range(1, 21)))
    assert [len(one) for one in found] == list(range(1, 21))


async def test_cancelling_a_task_cancels_its_call(gateway: FakeGateway) -> None:
    gateway.open.clear()
    async with turnout.AsyncClient(gateway.target) as client:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.model("price"), 0.05)
        gateway.open.set()
        assert (await client.model("price")).name == "price"


def test_a_closed_client_says_so(client: Any) -> None:
    client.health()
    client.close()
    client.close()
    with pytest.raises(ValueError, match="this client is closed"):
        client.health()


def test_an_async_client_can_be_made_before_its_loop(gateway: FakeGateway) -> None:
    client = turnout.AsyncClient(gateway.target)

    async def use() -> str:
        async with client:
            return await client.health()

    assert asyncio.run(use()) == "SERVING"


def test_an_unused_async_client_closes() -> None:
    asyncio.run(turnout.AsyncClient("127.0.0.1:1").close())


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> dict[str, str]:
        return {
            name: str(inspect.signature(member))
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_") or name == "__init__"
        }

    assert public(turnout.Client) == public(turnout.AsyncClient)


def test_integer_ids_travel_as_text(gateway: FakeGateway, client: Any) -> None:
    client.recommend("next", [4711, "item-0"], exclude=[12], unit="u")
    sent = gateway.seen[0].request
    assert (sent.history_item_ids, sent.excluded_item_ids) == (["4711", "item-0"], ["12"])
