"""The Python client and the gateway, together: what is asked is what is answered, blocking and awaited alike."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import turnout
from tests.e2e.conftest import Gateway, StartGateway
from tests.e2e.graphs import CATALOGUE, DTYPES
from tests.e2e.probes import eventually
from tests.e2e.tiny_store import ROUTES
from tests.tables import check_all

Ask = Callable[..., Any]
STOPPED_ROUTES = ROUTES.replace("weight: 90", "weight: 0").replace("weight: 10", "weight: 1")
"""All of `ranking` goes to its canary."""


def asking(kind: str, address: str, **settings: Any) -> Iterator[Ask]:
    """Yield a function that calls a method of a client by its name, whichever kind of client it is."""
    if kind == "blocking":
        with turnout.Client(address, **settings) as client:
            yield lambda method, *args, **named: getattr(client, method)(*args, **named)
        return
    with asyncio.Runner() as runner:

        async def ask(method: str, *args: Any, **named: Any) -> Any:
            found = getattr(awaited, method)(*args, **named)
            return await found if inspect.isawaitable(found) else found

        async def connect() -> turnout.AsyncClient:
            return turnout.AsyncClient(address, **settings)

        awaited = runner.run(connect())
        yield lambda method, *args, **named: runner.run(ask(method, *args, **named))
        runner.run(awaited.close())


@pytest.fixture(params=["blocking", "awaited"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ask(kind: str, gateway: Gateway) -> Iterator[Ask]:
    """Asks the gateway that all tests share."""
    yield from asking(kind, gateway.address)


@pytest.fixture
def change(kind: str, store: Path, start_gateway: StartGateway) -> Iterator[Ask]:
    """Asks a gateway of the test's own, which allows changes."""
    yield from asking(kind, start_gateway(store, "--allow-changes").address)


# ---------------------------------------------------------------- predictions


def test_a_person_ranks_candidates(ask: Ask) -> None:
    ranking = ask("rank", "ranking", {"dear": {"price": 3.5}, "cheap": {"price": 2}}, version="champion")
    assert ranking.ids == ["cheap", "dear"]
    assert [candidate.score for candidate in ranking] == [-2, -3.5]
    assert ranking.served == turnout.Served("", "", "ranking", 1, "PINNED")


def test_columns_rank_as_rows_do(ask: Ask) -> None:
    rows = {"a": {"price": 3, "discount": 2.0}, "b": {"price": 2, "discount": 0.5}, "c": {"price": 1, "discount": 0.0}}
    columns = {"price": [3, 2, 1], "discount": [2.0, 0.5, 0.0]}
    by_rows = ask("rank", "ranking", rows, version=2, k=2)
    assert by_rows == ask("rank", "ranking", ids=["a", "b", "c"], columns=columns, version=2, k=2)
    assert [(candidate.id, candidate.score, candidate.index) for candidate in by_rows] == [("a", 7, 0), ("b", 5, 1)]


def test_context_features_hold_for_every_candidate(ask: Ask) -> None:
    plain = ask("rank", "ranking", {"a": {"price": 1}, "b": {"price": 2}}, version=2)
    later = ask("rank", "ranking", {"a": {"price": 1}, "b": {"price": 2}}, context={"hour": 20}, version=2)
    assert [candidate.score for candidate in plain] == [5, 4]  # the default hour is 12
    assert [candidate.score for candidate in later] == [9, 8]


def test_equal_scores_keep_the_requests_order(ask: Ask) -> None:
    ids = [str(number) for number in range(50)]
    assert ask("rank", "ranking", ids=ids, columns={"price": 1.0}, version=1).ids == ids


def test_a_price_and_its_interval(ask: Ask) -> None:
    price = ask("predict_price", "price", {"carat": 2.0, "cut": "Fair"}, unit="vip")
    assert (price.price, price.low, price.high) == pytest.approx((2000, 1800, 2200))
    assert price.served == turnout.Served("price", "control", "price", 1, "OVERRIDE", "control")


def test_a_missing_feature_is_filled_in_from_the_manifest(ask: Ask) -> None:
    assert ask("predict_price", "price", {"carat": 1.0}, version="champion").price == 1500  # an Ideal cut


def test_prices_come_back_in_the_requests_order(ask: Ask) -> None:
    prices = ask("predict_prices", "price", [{"carat": carat, "cut": "Fair"} for carat in (3, 1, 2)], version=1)
    assert [price.price for price in prices] == [3000, 1000, 2000]


def test_recommendations_leave_out_what_is_excluded(ask: Ask) -> None:
    found = ask("recommend", "recommendation", [], exclude=[101, "103"], k=3, version=1)
    assert found.ids == ["102", "104", "105"]


def test_recommendations_follow_the_history_and_pass_over_unknown_items(ask: Ask) -> None:
    found = ask("recommend", "recommendation", [109, 109, 107, 5555, "milk"], k=3, version=2)
    assert found.ids == ["109", "107", "101"]


def test_no_more_comes_back_than_the_model_knows(ask: Ask) -> None:
    assert ask("recommend", "recommendation", [], k=1000, version=1).ids == [str(item) for item in CATALOGUE]


# ---------------------------------------------------------------- any model


def test_any_model_answers_by_names(ask: Ask) -> None:
    answer = ask("infer", "price", {"carat": [1, 2.0], "cut": "Fair"}, version=1)
    assert {name: values.tolist() for name, values in answer.items()} == {
        "price": [1000.0, 2000.0],
        "low": [900.0, 1800.0],
        "high": [pytest.approx(1100.0), pytest.approx(2200.0)],
    }
    assert answer.served == turnout.Served("", "", "price", 1, "PINNED")
    assert ask("infer", "price", {"carat": 1}, unit="vip", outputs=["low"]).served.reason == "OVERRIDE"


def test_a_frame_comes_back_as_one(ask: Ask) -> None:
    sent = pd.DataFrame({"carat": [1.0, 2.0], "cut": pd.Categorical(["Fair", "Good"])}, index=["x", "y"])
    frame = ask("infer", "price", sent, version=1, outputs=["price"]).frame()
    assert frame["price"].to_dict() == {"x": 1000.0, "y": pytest.approx(2200.0)}
    prices = ask("predict_prices", "price", sent, version=1)
    assert [one.price for one in prices] == frame["price"].tolist()


def test_a_matrix_needs_no_names(ask: Ask) -> None:
    matrix = np.array([[3.0, 1.0, 10.0], [2.0, 0.0, 12.0]])
    assert ask("infer", "ranking", matrix, version=2).output.tolist() == [4.0, 4.0]
    named = {("price", "discount", "hour"): matrix}
    assert ask("infer", "ranking", named, version=2).output.tolist() == [4.0, 4.0]
    assert ask("infer", "slow", {"rounds": 3}).output.tolist() == ask("infer", "slow", [3]).output.tolist() == [3]


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != "BYTES"])
def test_numbers_of_any_type_reach_a_model_of_any_type(ask: Ask, dtype: str) -> None:
    for given in ([[1, 0], [1, 1]], np.array([[1, 0], [1, 1]], np.float64), np.array([[1, 0], [1, 1]], np.uint8)):
        assert ask("infer", f"echo-{dtype.lower()}", given).output.tolist() == [[1, 0], [1, 1]]


def test_texts_reach_a_model(ask: Ask) -> None:
    for given in (
        [["red shoes", "é漢😀"]],
        [[b"red shoes", "é漢😀".encode()]],
        np.array([["red shoes", "é漢😀"]]),
    ):
        assert ask("infer", "echo-bytes", given).output.tolist() == [["red shoes", "é漢😀"]]


ANY_WRONG = [
    ({"caret": 1}, "FEATURE_UNKNOWN", "carat"),
    ({"cut": "Fair"}, "INPUT_MISSING", "carat"),
    ({"carat": "heavy"}, "FEATURE_INVALID", "carat"),
    ({"carat": [["heavy"]]}, "INPUT_INVALID", "carat"),
    ({"carat": np.ones((1, 2))}, "INPUT_INVALID", "carat"),
]


def test_what_a_model_does_not_take_is_refused_by_name(ask: Ask) -> None:
    def check(_: str, data: Any, reason: str, name: str) -> None:
        with pytest.raises(turnout.InvalidRequestError, match=name) as caught:
            ask("infer", "price", data)
        assert caught.value.reason == reason

    check_all([(str(row[0]), *row) for row in ANY_WRONG], check)


# ---------------------------------------------------------------- looking


def test_models_say_what_serves(ask: Ask) -> None:
    models = ask("models")
    assert [model.name for model in models] == sorted(model.name for model in models)
    price = ask("model", "price")
    assert price in models
    assert price.labels == {"champion": 1, "challenger": 2}
    newest = price.versions[0]
    assert (newest.version, newest.task, newest.state, newest.owner) == (2, "price", "AVAILABLE", "tests")
    assert newest.metrics == {"rmse": 12.5}
    assert [tensor.name for tensor in newest.inputs] == ["carat", "cut"]


def test_routes_say_what_serves(ask: Ask) -> None:
    table = ask("routes")
    assert [route.name for route in table] == ["echo", "price", "ranking", "recommendation"]
    assert table.problem == ""
    price = ask("route", "price")
    assert price in table.routes
    assert [(target.name, target.weight, target.serving_version) for target in price.targets] == [
        ("control", 50, 1),
        ("canary", 50, 2),
    ]


@pytest.mark.parametrize("unit", ["vip", "someone", "é漢😀"])
def test_an_assignment_is_what_a_request_then_gets(ask: Ask, unit: str) -> None:
    assigned = ask("assign", "price", unit)
    assert ask("predict_price", "price", {"carat": 1}, unit=unit).served == assigned.served
    assert assigned.override == (1 if unit == "vip" else None)


def test_health_is_known(ask: Ask) -> None:
    assert ask("health") == "SERVING"
    assert ask("health", "turnout.v1.RankingService") == "SERVING"


# ---------------------------------------------------------------- errors

WRONG = [
    ("predict_price", ("prices", {"carat": 1}), {}, turnout.NotFoundError, "ROUTE_NOT_FOUND"),
    ("predict_price", ("price", {"carat": 1}), {"version": 9}, turnout.NotFoundError, "VERSION_NOT_FOUND"),
    ("predict_price", ("price", {"carat": 1}), {"version": "best"}, turnout.NotFoundError, "LABEL_NOT_FOUND"),
    ("predict_price", ("price", {"carot": 1}), {}, turnout.InvalidRequestError, "FEATURE_UNKNOWN"),
    ("predict_price", ("price", {"cut": "Fair"}), {}, turnout.InvalidRequestError, "FEATURE_MISSING"),
    ("predict_price", ("price", {"carat": "two"}), {}, turnout.InvalidRequestError, "FEATURE_INVALID"),
    ("predict_price", ("ranking", {"carat": 1}), {}, turnout.InvalidRequestError, "TASK_MISMATCH"),
    ("recommend", ("recommendation", []), {"k": 1001}, turnout.InvalidRequestError, "REQUEST_INVALID"),
    ("model", ("nothing",), {}, turnout.NotFoundError, "MODEL_NOT_FOUND"),
    ("route", ("nothing",), {}, turnout.NotFoundError, "ROUTE_NOT_FOUND"),
    ("assign", ("nothing", "unit"), {}, turnout.NotFoundError, "ROUTE_NOT_FOUND"),
]


def test_an_error_has_a_class_and_a_stable_reason(ask: Ask) -> None:
    def check(name: str, method: str, args: Any, named: Any, error: type[turnout.TurnoutError], reason: str) -> None:
        with pytest.raises(error) as caught:
            ask(method, *args, **named)
        assert caught.value.reason == reason
        assert "Traceback" not in str(caught.value)

    check_all([(f"{row[0]} {row[1]} {row[2]}", *row) for row in WRONG], check)


def test_a_price_of_another_task_is_refused_whoever_names_the_model(ask: Ask) -> None:
    with pytest.raises(turnout.InvalidRequestError, match="ranking"):
        ask("predict_price", "ranking", {"carat": 1}, version=1)


@pytest.mark.parametrize(
    ("method", "args"),
    [("set_label", ("price", "champion", 2)), ("remove_label", ("price", "champion")), ("apply_routes", (ROUTES,))],
)
def test_changes_are_refused_where_they_are_not_allowed(ask: Ask, method: str, args: tuple[Any, ...]) -> None:
    with pytest.raises(turnout.ForbiddenError) as caught:
        ask(method, *args)
    assert caught.value.reason == "CHANGES_DISABLED"
    assert ask("model", "price").labels == {"champion": 1, "challenger": 2}


# ---------------------------------------------------------------- changes


def test_a_label_moves_and_so_do_requests(change: Ask) -> None:
    moved = change("set_label", "price", "champion", 2, expected_version=1)
    assert moved.labels["champion"] == 2
    eventually(lambda: change("predict_price", "price", {"carat": 1}, unit="vip").served.version == 2)
    with pytest.raises(turnout.ConflictError) as caught:
        change("set_label", "price", "champion", 1, expected_version=1)
    assert caught.value.reason == "STALE_WRITE"
    with pytest.raises(turnout.NotFoundError) as caught_too:
        change("set_label", "price", "champion", 99)
    assert caught_too.value.reason == "VERSION_NOT_FOUND"


def test_a_label_comes_and_goes(change: Ask) -> None:
    assert change("set_label", "price", "old", 1, expected_version=0).labels["old"] == 1
    assert change("predict_price", "price", {"carat": 1}, version="old").served.version == 1
    assert "old" not in change("remove_label", "price", "old").labels


def test_a_route_table_is_checked_then_applied(change: Ask) -> None:
    before = change("routes").digest
    checked = change("apply_routes", STOPPED_ROUTES, validate_only=True)
    assert change("routes").digest == before != checked
    assert change("apply_routes", STOPPED_ROUTES, expected_digest=before) == checked
    eventually(lambda: change("routes").digest == checked)
    assert change("rank", "ranking", {"a": {"price": 1}}, unit="x").served.target == "canary"
    with pytest.raises(turnout.ConflictError) as caught:
        change("apply_routes", ROUTES, expected_digest=before)
    assert caught.value.reason == "STALE_WRITE"


def test_a_wrong_table_is_refused_with_its_place(change: Ask) -> None:
    with pytest.raises(turnout.InvalidRequestError, match=r"\$\.routes\.price\.targets\[0\]\.weight") as caught:
        change("apply_routes", ROUTES.replace("weight: 50", "weight: -1", 1))
    assert caught.value.reason == "ROUTE_TABLE_INVALID"
    assert change("routes").problem == ""


# ---------------------------------------------------------------- deadlines and restarts


def test_a_deadline_ends_a_call(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections and never says a word
        for ask in asking(kind, f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.3, retries=0):
            with pytest.raises(turnout.DeadlineError) as caught:
                ask("predict_price", "price", {"carat": 1})
            assert caught.value.code == "DEADLINE_EXCEEDED"


def test_a_restart_costs_a_client_nothing_but_time(kind: str, store: Path, start_gateway: StartGateway) -> None:
    first = start_gateway(store)
    for ask in asking(kind, first.address, timeout=60.0, retries=4):
        assert ask("predict_price", "price", {"carat": 1}, version=1).price == 1500
        assert first.terminate() == 0
        with pytest.raises(turnout.UnavailableError, match="refused"):
            ask("predict_price", "price", {"carat": 1}, version=1, timeout=5)
        start_gateway(store, "--listen", first.address)
        assert eventually(lambda ask=ask: price_or_none(ask)) == 1500


def price_or_none(ask: Ask) -> float | None:
    try:
        return float(ask("predict_price", "price", {"carat": 1}, version=1).price)
    except turnout.UnavailableError:
        return None


def test_with_two_gateways_a_rolling_restart_fails_no_request(
    kind: str, store: Path, start_gateway: StartGateway
) -> None:
    gateways = [start_gateway(store), start_gateway(store)]
    addresses = ",".join(gateway.address for gateway in gateways)
    stop, failures, answered = threading.Event(), list[Exception](), itertools.count()
    seen = 0

    def keep_asking() -> None:
        nonlocal seen
        for ask in asking(kind, f"ipv4:{addresses}", timeout=30.0, retries=4):
            while not stop.is_set():
                try:
                    ask("predict_price", "price", {"carat": 1}, unit="u")
                    seen = next(answered)
                except Exception as error:
                    failures.append(error)

    client = threading.Thread(target=keep_asking)
    client.start()
    try:
        for gateway in gateways:
            eventually(lambda was=seen: seen > was + 50 or failures)
            assert gateway.terminate() == 0
            start_gateway(store, "--listen", gateway.address)
        eventually(lambda was=seen: seen > was + 50 or failures)
    finally:
        stop.set()
        client.join()
    assert failures == []
