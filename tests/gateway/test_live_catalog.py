"""What the catalogue says of a running gateway, and what changes through it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.gateway.world import World, table, turns
from turnout_server.gateway.live_catalog import LiveCatalog
from turnout_server.serving.state import State
from turnout_server.vocabulary.decision import Reason
from turnout_server.vocabulary.errors import (
    ChangesDisabledError,
    InvalidRouteTableError,
    LabelNotFoundError,
    ModelNotFoundError,
    RouteNotFoundError,
    StaleWriteError,
    VersionNotFoundError,
    VersionUnavailableError,
)
from turnout_server.vocabulary.versions import VersionKey

ONE, TWO = VersionKey("price", 1), VersionKey("price", 2)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """Two versions: 1 is champion, with most of the traffic; 2 is challenger."""
    world = World(tmp_path / "store")
    world.publish("price", "champion")
    world.publish("price", "challenger")
    world.routes(
        table("canary price challenger 10", "control price champion 90", route="cost", more="    fallback: control\n")
    )
    return await world.start()


def test_a_route_is_described_by_its_heaviest_target(world: World) -> None:
    found = world.catalog.describe("cost")
    assert (found.is_route, found.versions, found.manifest.version) == (True, (1, 2), 1)


def test_a_model_is_described_by_its_newest_version_and_a_pin_by_itself(world: World) -> None:
    assert world.catalog.describe("price").manifest.version == 2
    assert world.catalog.describe("price", "champion").versions == (1,)
    assert world.catalog.describe("cost", "1").versions == (1,)


@pytest.mark.parametrize(
    ("name", "version", "error"),
    [
        ("nothing", "", RouteNotFoundError),
        ("price", "9", VersionNotFoundError),
        ("price", "nolabel", LabelNotFoundError),
        ("price", "9" * 1000, VersionNotFoundError),
    ],
)
def test_what_does_not_exist_is_told_and_not_ready(
    world: World, name: str, version: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        world.catalog.describe(name, version)
    assert not world.catalog.is_ready(name, version)


async def test_a_route_none_of_whose_targets_is_available_is_not_ready(world: World) -> None:
    await world.catalog.unload("price")
    with pytest.raises(VersionUnavailableError):
        world.catalog.describe("cost")
    assert not world.catalog.is_ready("cost")
    assert not world.catalog.is_ready("price")


def test_every_version_in_the_store_has_a_status(world: World) -> None:
    world.publish("unseen")
    assert [(status.key, status.state) for status in world.catalog.status()] == [
        (ONE, State.AVAILABLE),
        (TWO, State.AVAILABLE),
    ]
    assert world.catalog.models() == ("price",)
    assert world.catalog.status("nothing") == ()


def test_serving_versions_are_those_that_selectors_get_now(world: World) -> None:
    assert world.catalog.serving_version("price", "champion") == 1
    assert world.catalog.serving_version("price", 2) == 2
    assert world.catalog.serving_version("price", 9) == 0
    assert world.catalog.serving_version("price", "nolabel") == 0


async def test_a_label_that_no_route_uses_has_a_serving_version_too(world: World) -> None:
    world.store.set_label("price", "extra", 2)
    await world.look()
    assert world.catalog.serving_version("price", "extra") == 2


def test_an_assignment_is_the_one_that_a_request_would_get(world: World) -> None:
    served, override = world.catalog.assign("cost", "someone", {})
    assert (served.reason, override) == (Reason.SPLIT, -1)
    assert world.catalog.assign("cost", "", {})[0].reason is Reason.UNSTICKY
    with pytest.raises(RouteNotFoundError):
        world.catalog.assign("price", "someone", {})


async def test_a_manifest_comes_from_memory_or_from_the_store(world: World) -> None:
    assert (await world.catalog.manifest(ONE)).version == 1
    world.publish("unseen")
    assert (await world.catalog.manifest(VersionKey("unseen", 1))).model == "unseen"


async def test_statistics_are_of_what_a_name_stands_for(world: World) -> None:
    await world.version(version="1")
    counted = dict(world.catalog.statistics())
    assert (counted[ONE].success.count, counted[TWO].success.count) == (1, 0)
    assert [key for key, _ in world.catalog.statistics("cost")] == [ONE, TWO]
    assert [key for key, _ in world.catalog.statistics("price", "champion")] == [ONE]
    assert [key for key, _ in world.catalog.statistics("price")] == [ONE, TWO]


async def test_nothing_changes_where_changes_are_not_allowed(world: World) -> None:
    catalog = LiveCatalog(world.store, world.reconciler, world.manager, world.data_plane)
    for change in (
        catalog.load("price"),
        catalog.unload("price"),
        catalog.set_label("price", "champion", 2, None, False),
        catalog.apply_routes("routes: {}", "", False),
    ):
        with pytest.raises(ChangesDisabledError):
            await change
    assert world.store.labels("price")["champion"] == 1


async def test_a_label_is_moved_and_takes_effect(world: World) -> None:
    await world.catalog.set_label("price", "champion", 2, 1, True)
    await turns()
    assert world.catalog.labels("price")["champion"] == world.catalog.serving_version("price", "champion") == 2
    with pytest.raises(StaleWriteError):
        await world.catalog.set_label("price", "champion", 1, 1, True)


async def test_a_table_is_checked_written_and_adopted(world: World) -> None:
    text = table("all price 1 1", route="fresh")
    await world.catalog.apply_routes(text, "", True)
    assert world.catalog.table.get("fresh") is None
    digest = await world.catalog.apply_routes(text, world.catalog.table.digest, False)
    assert world.catalog.table.digest == digest
    with pytest.raises(StaleWriteError):
        await world.catalog.apply_routes(table("all price 2 1"), "0" * 64, False)
    with pytest.raises(InvalidRouteTableError):
        await world.catalog.apply_routes("routes: 1", "", False)


async def test_unloading_waits_until_the_memory_is_back_and_loading_until_it_serves(world: World) -> None:
    lease = world.manager.lease(ONE)
    unloading = asyncio.create_task(world.catalog.unload("price"))
    await turns()
    assert not unloading.done()
    lease.release()
    await unloading
    assert world.states() == {}
    with pytest.raises(VersionUnavailableError):
        await world.version(name="price")
    await world.look()  # polling does not undo it
    assert world.states() == {}
    await world.catalog.load("price")
    assert await world.version(name="price") == 2


async def test_a_load_that_comes_while_unloading_wins_and_neither_waits_for_ever(world: World) -> None:
    lease = world.manager.lease(ONE)
    unloading = asyncio.create_task(world.catalog.unload("price"))
    await turns()
    loading = asyncio.create_task(world.catalog.load("price"))
    await turns()
    lease.release()
    await asyncio.gather(unloading, loading)
    assert world.states() == {ONE: State.AVAILABLE, TWO: State.AVAILABLE}


async def test_an_unload_that_comes_while_loading_ends_the_load_with_an_error(world: World) -> None:
    await world.catalog.unload("price")
    world.held.update((ONE, TWO))
    loading = asyncio.create_task(world.catalog.load("price"))
    await turns()
    unloading = asyncio.create_task(world.catalog.unload("price"))
    await turns()
    await world.released(TWO)
    await unloading
    with pytest.raises(VersionUnavailableError):
        await loading


async def test_a_model_that_cannot_be_loaded_says_why(world: World) -> None:
    world.broken.add(VersionKey("rank", 1))
    world.publish("rank")
    with pytest.raises(VersionUnavailableError, match="rank version 1 is broken"):
        await world.catalog.load("rank")
    world.broken.clear()
    await world.catalog.load("rank")
    assert world.manager.latest("rank") == 1


async def test_there_is_no_loading_what_does_not_exist(world: World) -> None:
    for change in (world.catalog.load("nothing"), world.catalog.unload("nothing")):
        with pytest.raises(ModelNotFoundError):
            await change
    assert world.reconciler.suspended == set()
