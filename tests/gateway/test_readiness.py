"""When the gateway should get traffic, and what is said of why it should not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.gateway.world import World, table, turns
from turnout_server.gateway.readiness import STARTING, STOPPING, Readiness, Standing
from turnout_server.vocabulary.versions import VersionKey

ONE, TWO = VersionKey("price", 1), VersionKey("price", 2)
MISSING = "there is no route table: "


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """A store with `price`, versions 1, the champion, and 2; nobody has looked yet."""
    world = World(tmp_path / "store")
    world.publish("price", "champion")
    world.publish("price", "challenger")
    return world


async def begun(world: World, required: Sequence[str] | None = None) -> Readiness:
    """Start a gateway, as the application does."""
    readiness = Readiness(world.names, world.reconciler, world.manager, "all" if required is None else required)
    assert readiness.standing.server == STARTING
    await world.start()
    assert not readiness.is_ready
    readiness.begin()
    return readiness


async def tried_again(world: World) -> None:
    world.manager.retry("price")
    await turns()


async def test_a_gateway_whose_routes_can_answer_is_ready_and_at_its_end_is_not(world: World) -> None:
    world.routes(table("all price champion 1"))
    readiness = await begun(world)
    assert readiness.standing == Standing("", {"price": ""})
    readiness.end()
    assert readiness.standing == Standing(STOPPING, {"price": STOPPING})


async def test_a_store_without_a_table_is_ready(world: World) -> None:
    assert (await begun(world)).standing == Standing("")


# ---------------------------------------------------------------- routes at the start


@pytest.mark.parametrize("targets", [("only price champion 1",), ("new price champion 1", "old price 2 99")])
async def test_a_route_that_refuses_requests_keeps_a_new_gateway_out_until_it_can_answer(
    world: World, targets: tuple[str, ...]
) -> None:
    """However few: of a split's targets each gets requests."""
    world.broken.add(ONE)
    world.routes(table(*targets))
    readiness = await begun(world)
    problem = "model 'price' version 1 is not available: FAILED (price version 1 is broken)"
    assert readiness.standing == Standing(f"route 'price': {problem}", {"price": problem})
    assert not world.catalog.is_ready("price")
    world.broken.clear()
    await tried_again(world)
    assert readiness.standing == Standing("", {"price": ""})
    assert world.catalog.is_ready("price")


@pytest.mark.parametrize(
    "targets", [("new price champion 1", "old price 2 0"), ("idle price champion 0", "old price 2 1")]
)
async def test_a_live_fallback_counts_and_a_target_that_gets_nobody_does_not(
    world: World, targets: tuple[str, ...]
) -> None:
    world.broken.add(ONE)
    world.routes(table(*targets, more="    fallback: old\n"))
    readiness = await begun(world)
    assert readiness.standing == Standing("", {"price": ""})
    assert world.catalog.is_ready("price")


async def test_what_an_operator_unloaded_keeps_no_gateway_out(world: World) -> None:
    world.publish("rank", "champion")
    world.routes(table("all price champion 1", "none rank champion 1"))
    world.store.suspend("rank")
    readiness = await begun(world)
    assert readiness.is_ready
    assert "an operator unloaded the model" in readiness.standing.routes["price"]


async def test_what_an_operator_unloaded_does_not_hide_what_else_is_wrong(world: World) -> None:
    world.publish("rank", "champion")
    world.broken.add(ONE)
    world.routes(table("none rank champion 2", "all price champion 1"))
    world.store.suspend("rank")
    assert not (await begun(world)).is_ready


async def test_only_required_routes_keep_it_out(world: World) -> None:
    world.broken.add(TWO)
    world.routes(table("only price 1 1", route="good") + table("only price 2 1", route="bad").partition("\n")[2])
    readiness = await begun(world, ["good"])
    assert readiness.is_ready
    assert "version 2 is not available" in readiness.standing.routes["bad"]
    assert (world.catalog.is_ready("good"), world.catalog.is_ready("bad")) == (True, False)


@pytest.mark.parametrize("has_table", [True, False])
async def test_a_required_route_that_does_not_exist_keeps_it_out(world: World, has_table: bool) -> None:
    if has_table:
        world.routes(table("only price 1 1"))
    readiness = await begun(world, ["cost"])
    problem = "it is required, and the route table has no such route"
    assert readiness.standing.server == f"route 'cost': {problem}"
    assert readiness.standing.routes["cost"] == problem


async def test_of_several_the_first_is_named(world: World) -> None:
    readiness = await begun(world, ["a", "b", "c"])
    assert readiness.standing.server.startswith("route 'a': ")
    assert readiness.standing.server.endswith("(and 2 more)")


async def test_where_models_go_by_their_own_names_one_that_answers_is_enough(world: World) -> None:
    world.broken.update((ONE, TWO))
    readiness = await begun(world)
    problem = "price version 1 is FAILED (price version 1 is broken)"
    assert readiness.standing.server == f"no model can answer: {problem}"
    world.broken.remove(TWO)
    await tried_again(world)
    assert readiness.is_ready


# ---------------------------------------------------------------- later


async def test_later_a_route_that_fails_is_its_own_business(world: World) -> None:
    world.routes(table("all price champion 1"))
    readiness = await begun(world)
    with capture_logs() as logs:
        world.manager.withdraw(ONE, "withdrawn: runs took too long")
        await turns()
        assert readiness.is_ready
        assert "(withdrawn: runs took too long)" in readiness.standing.routes["price"]
        assert not world.catalog.is_ready("price")
        await tried_again(world)
        assert readiness.standing == Standing("", {"price": ""})
    said = [(line["event"], line.get("route")) for line in logs if "route" in line]
    assert said == [
        ("requests for a route are refused", "price"),
        ("a route answers all its requests again", "price"),
    ]


async def test_later_a_wrong_table_changes_nothing(world: World) -> None:
    world.routes(table("all price champion 1"))
    readiness = await begun(world)
    world.routes("routes: 1")
    await world.look()
    (world.root / "routes.yaml").unlink()
    await world.look()
    assert world.reconciler.table_problem
    assert readiness.standing == Standing("", {"price": ""})


async def test_a_first_table_that_is_wrong_leaves_models_ready_that_were(world: World) -> None:
    readiness = await begun(world)
    world.routes("routes: 1")
    await world.look()
    assert readiness.standing == Standing("")
    assert world.catalog.is_ready("price")


# ---------------------------------------------------------------- the table at the start


@pytest.mark.parametrize("text", ["routes: 1", table("all price 9 1"), table("all price nolabel 1")])
async def test_a_cold_start_with_a_wrong_table_is_not_ready_and_says_why(world: World, text: str) -> None:
    world.routes(text)
    with capture_logs() as logs:
        readiness = await begun(world)
    problem = world.reconciler.table_problem
    assert readiness.standing == Standing(MISSING + problem, {}, problem)
    (said,) = [line["event"] for line in logs if "route table" in line["event"]]
    assert said == "the store's route table is not being served; there is none before it"
    assert ("the gateway is NOT_SERVING", MISSING + problem) in [(line["event"], line.get("problem")) for line in logs]
    world.routes(table("all price champion 1"))
    await world.look()
    assert readiness.standing == Standing("", {"price": ""})


async def test_a_name_is_not_ready_while_nobody_knows_what_it_means(world: World) -> None:
    """With the table that is missing it may be a route's; with a version it is a model's."""
    world.routes("routes: 1")
    readiness = await begun(world)
    catalog = world.catalog
    catalog._unclear = lambda: readiness.standing.names
    assert (catalog.is_ready("price"), catalog.is_ready("price", "1")) == (False, True)
    world.routes("routes: {}")
    await world.look()
    assert (readiness.is_ready, catalog.is_ready("price")) == (True, True)


async def test_a_store_that_had_a_table_is_expected_to_have_one(world: World) -> None:
    world.store.write_routes("routes: {}\n")
    (world.root / "routes.yaml").unlink()
    readiness = await begun(world)
    assert readiness.standing.server.startswith(f"{MISSING}the route table is gone")
    world.routes("routes: {}")
    await world.look()
    assert readiness.is_ready


async def test_a_table_of_a_file_is_expected(world: World, tmp_path: Path) -> None:
    world.reconciler._tables.file = tmp_path / "gone.yaml"
    readiness = await begun(world)
    assert readiness.standing.server == f"{MISSING}gone.yaml does not exist"


async def test_what_is_wrong_may_be_long_and_is_told_on_one_short_line(world: World) -> None:
    world.routes("routes: {'" + "x" * 5000 + "\n': 1}")
    server = (await begun(world)).standing.server
    assert len(server) <= 1000
    assert "\n" not in server
