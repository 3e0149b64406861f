"""RouteService shows the table, explains assignments and hands new tables on."""

from __future__ import annotations

import msgspec
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.rpc.turnout_v1.typed_fakes import DECISION, FakeCall, FakeCatalog
from turnout import v1 as pb
from turnout_server.routing.layer import Layer
from turnout_server.routing.laying import lay
from turnout_server.routing.overlay import Overlay, Step, footing
from turnout_server.routing.route import Experiment, Mirror, Override, Route, Target, When
from turnout_server.routing.table import RouteTable
from turnout_server.rpc.turnout_v1 import typed
from turnout_server.rpc.turnout_v1.routes import MOST_HEADERS, RouteService
from turnout_server.vocabulary.errors import InvalidRequestError, RouteNotFoundError

CALL = FakeCall()
PRICE = Route(
    task="price",
    salt="price-2026",
    targets=(Target("control", "price", "champion", 90), Target("canary", "price", 4, 10)),
    overrides=(Override(When({"x-qa": "on"}, ("u1", "u2")), "canary"),),
    mirrors=(Mirror("price", 7, 0.05),),
    fallback="control",
)
PLAIN = Route(task="ranking", salt="s", targets=(Target("only", "rank", 1, 1),))

TRIED = msgspec.structs.replace(
    PRICE, salt="tried", experiment=Experiment("trial", "control", "checkout", ((0, 300), (400, 500)), 0.5)
)


@pytest.fixture
def catalog() -> FakeCatalog:
    catalog = FakeCatalog()
    catalog.table = RouteTable({"search": PLAIN, "price": PRICE}, digest="abc")
    catalog.serving = {("price", "champion"): 3, ("price", 4): 4}
    return catalog


@pytest.fixture
def trying(catalog: FakeCatalog) -> FakeCatalog:
    """Have a route with an experiment, too."""
    catalog.table = RouteTable({"price": PRICE, "tried": TRIED}, layers={"checkout": Layer("checkout-2026", 0.25)})
    return catalog


async def test_a_route_is_shown_whole_with_the_versions_that_serve_it(catalog: FakeCatalog) -> None:
    answer = await RouteService(catalog, catalog).GetRoute(pb.GetRouteRequest(route="price"), CALL)
    assert answer.route == pb.Route(
        name="price",
        task="price",
        salt="price-2026",
        targets=[
            pb.Target(name="control", model="price", version="champion", weight=90, serving_version=3),
            pb.Target(name="canary", model="price", version="4", weight=10, serving_version=4),
        ],
        overrides=[pb.Override(headers={"x-qa": "on"}, units=["u1", "u2"], target="canary")],
        mirrors=[pb.Mirror(model="price", version="7", fraction=0.05)],
        fallback="control",
    )


async def test_a_routes_experiment_is_shown_with_its_layer(trying: FakeCatalog) -> None:
    answer = await RouteService(trying, trying).GetRoute(pb.GetRouteRequest(route="tried"), CALL)
    assert answer.route.experiment == pb.Experiment(
        name="trial",
        control="control",
        layer=pb.Layer(name="checkout", salt="checkout-2026", holdout=0.25),
        buckets=[pb.Buckets(first=0, end=300), pb.Buckets(first=400, end=500)],
        enrolment=0.5,
    )
    plain = await RouteService(trying, trying).GetRoute(pb.GetRouteRequest(route="price"), CALL)
    assert not plain.route.HasField("experiment")


async def test_what_was_decided_about_a_route_shows_beside_what_the_table_says(trying: FakeCatalog) -> None:
    step = Step(at="2026-11-29T12:00:00.000000Z", by="ada", how="pause", why="it hurts", enrolment=0.0, resumes_at=0.7)
    on = footing(TRIED, weights=False)
    overlay = Overlay(format=1, route="tried", on=on, experiment="trial", control="control", step=step)
    trying.table = lay(trying.table, {"tried": overlay}).table
    trying.left_out = {"price": "rollouts/price.json: not JSON"}
    service = RouteService(trying, trying)
    paused = (await service.GetRoute(pb.GetRouteRequest(route="tried"), CALL)).route
    assert paused.experiment.enrolment == 0.0
    assert paused.rollout == pb.Rollout(
        experiment="trial",
        enrolment=0.0,
        table_enrolment=0.5,
        resumes_at=0.7,
        decide_time=Timestamp(seconds=1795953600),
        by="ada",
        how="pause",
        why="it hurts",
    )
    broken = (await service.GetRoute(pb.GetRouteRequest(route="price"), CALL)).route
    assert broken.rollout == pb.Rollout(problem="rollouts/price.json: not JSON")


async def test_an_assignment_tells_what_the_unit_drew(trying: FakeCatalog) -> None:
    service = RouteService(trying, trying)
    draws = (await service.Assign(pb.AssignRequest(route="tried", unit="u9"), CALL)).draws
    found = trying.table.require("tried").draws("u9")
    assert (draws.holdout, draws.bucket, draws.enrolment) == found
    for route, unit in (("price", "u9"), ("tried", "")):
        answer = await service.Assign(pb.AssignRequest(route=route, unit=unit), CALL)
        assert not answer.HasField("draws")


async def test_a_target_that_nothing_serves_says_0_and_no_fallback_is_empty(catalog: FakeCatalog) -> None:
    answer = await RouteService(catalog, catalog).GetRoute(pb.GetRouteRequest(route="search"), CALL)
    assert answer.route.targets[0].serving_version == 0
    assert answer.route.fallback == ""


async def test_routes_come_by_name_in_pages_with_the_tables_digest_and_problem(catalog: FakeCatalog) -> None:
    catalog.table_problem = "$.routes: wrong"
    service = RouteService(catalog, catalog)
    first = await service.ListRoutes(pb.ListRoutesRequest(page_size=1), CALL)
    second = await service.ListRoutes(pb.ListRoutesRequest(page_size=1, page_token=first.next_page_token), CALL)
    assert [route.name for route in (*first.routes, *second.routes)] == ["price", "search"]
    assert (second.next_page_token, second.table_digest, second.table_problem) == ("", "abc", "$.routes: wrong")


async def test_an_unknown_route_is_not_found_and_no_name_is_refused(catalog: FakeCatalog) -> None:
    service = RouteService(catalog, catalog)
    with pytest.raises(RouteNotFoundError, match="'nope'"):
        await service.GetRoute(pb.GetRouteRequest(route="nope"), CALL)
    with pytest.raises(InvalidRequestError, match="route: is empty"):
        await service.GetRoute(pb.GetRouteRequest(), CALL)
    with pytest.raises(InvalidRequestError, match="route: is empty"):
        await service.Assign(pb.AssignRequest(unit="u"), CALL)


async def test_an_assignment_is_explained_and_headers_match_in_lower_case(catalog: FakeCatalog) -> None:
    catalog.assigned = DECISION
    request = pb.AssignRequest(route="price", unit="u9", headers={"X-QA": "On"})
    answer = await RouteService(catalog, catalog).Assign(request, CALL)
    scores = catalog.table.require("price").scores("u9")
    assert answer == pb.AssignResponse(served=typed.served(DECISION), override_index=2, scores=scores)
    assert scores.keys() == {"control", "canary"}
    assert catalog.changes == [("price", "u9", {"x-qa": "On"})]


async def test_an_assignment_with_more_headers_than_a_call_can_have_is_refused(catalog: FakeCatalog) -> None:
    request = pb.AssignRequest(route="price", headers={f"h{number}": "" for number in range(MOST_HEADERS + 1)})
    with pytest.raises(InvalidRequestError, match="513 of them; at most 512"):
        await RouteService(catalog, catalog).Assign(request, CALL)
    assert catalog.changes == []


@pytest.mark.parametrize("validate_only", [True, False])
async def test_a_new_table_is_handed_on_as_it_is(catalog: FakeCatalog, validate_only: bool) -> None:
    request = pb.ApplyRoutesRequest(yaml="routes: {}", expected_digest="abc", validate_only=validate_only)
    answer = await RouteService(catalog, catalog).ApplyRoutes(request, CALL)
    assert catalog.authors[0].how.startswith("ApplyRoutes at ")
    assert answer.table_digest == "f00d"
    assert catalog.changes == [("routes: {}", "abc", validate_only)]
