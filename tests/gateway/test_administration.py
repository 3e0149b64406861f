"""What operators change while the gateway runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gateway.world import World, table, turns
from turnout_server.gateway.administration import Administration
from turnout_server.gateway.names import UNLOADED
from turnout_server.gateway.reconciler import Reconciler
from turnout_server.serving.state import State
from turnout_server.serving.version_policy import Latest
from turnout_server.store.audit import By
from turnout_server.vocabulary.errors import (
    ChangesDisabledError,
    InvalidRouteTableError,
    ModelNotFoundError,
    RoutesElsewhereError,
    StaleWriteError,
    StoreReadOnlyError,
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


async def test_nothing_changes_where_changes_are_not_allowed(world: World) -> None:
    administration = Administration(world.store, world.names, world.reconciler, world.manager)
    for change in (
        administration.load("price"),
        administration.unload("price"),
        administration.set_label("price", "champion", 2, None, False),
        administration.apply_routes("routes: {}", "", False),
    ):
        with pytest.raises(ChangesDisabledError):
            await change
    assert world.store.labels("price")["champion"] == 1


async def test_a_label_is_moved_and_takes_effect(world: World) -> None:
    await world.administration.set_label("price", "champion", 2, 1, True)
    await turns()
    assert world.catalog.labels("price")["champion"] == world.names.newest("price") == 2
    with pytest.raises(StaleWriteError):
        await world.administration.set_label("price", "champion", 1, 1, True)


async def test_a_table_is_checked_written_and_adopted(world: World) -> None:
    text = table("all price 1 1", route="fresh")
    await world.administration.apply_routes(text, "", True)
    assert world.catalog.table.get("fresh") is None
    digest = await world.administration.apply_routes(text, world.catalog.table.digest, False)
    assert world.catalog.table.digest == digest
    with pytest.raises(StaleWriteError):
        await world.administration.apply_routes(table("all price 2 1"), "0" * 64, False)
    with pytest.raises(InvalidRouteTableError):
        await world.administration.apply_routes("routes: 1", "", False)


async def test_a_table_that_this_gateway_does_not_read_is_not_changed(world: World, tmp_path: Path) -> None:
    reconciler = Reconciler(world.store, world.names, world.manager, Latest(1), routes_file=tmp_path / "routes.yaml")
    administration = Administration(world.store, world.names, reconciler, world.manager, allow_changes=True)
    before = world.store.routes_text()
    for validate_only in (True, False):
        with pytest.raises(RoutesElsewhereError, match=r"store\.routes"):
            await administration.apply_routes(table("all price 1 1"), "", validate_only)
    assert world.store.routes_text() == before


async def test_every_change_is_in_the_audit_with_its_author(world: World) -> None:
    by = By("spiffe://shop/pricing", "SetLabel")
    await world.administration.set_label("price", "champion", 2, None, False, by)
    await world.administration.apply_routes(table("all price 1 1"), "", False, by)
    await world.administration.unload("price", by)
    loading = asyncio.create_task(world.administration.load("price", by))
    await turns()
    await loading
    told = [*world.store.label_changes("price")[:1], *world.store.routes_changes()[:1]]
    authors = [change.entry.who for change in told if change.entry]
    events = [event.action for event in world.store.model_events("price") if event.who == by.who]
    assert (authors, events) == ([by.who] * 2, ["resumed", "suspended"])


async def test_unloading_waits_until_the_memory_is_back_and_loading_until_it_serves(world: World) -> None:
    lease = world.manager.lease(ONE)
    unloading = asyncio.create_task(world.administration.unload("price"))
    await turns()
    assert not unloading.done()
    lease.release()
    await unloading
    assert world.states() == {}
    with pytest.raises(VersionUnavailableError):
        await world.version(name="price")
    await world.look()  # polling does not undo it
    assert world.states() == {}
    await world.administration.load("price")
    assert await world.version(name="price") == 1


async def until(reached: Callable[[], bool]) -> None:
    """Let the event loop go round until what a thread does for the store has happened."""
    async with asyncio.timeout(20.0):
        while not reached():
            await asyncio.sleep(0)


async def test_what_is_unloaded_stays_so_for_every_gateway_on_the_store(world: World) -> None:
    await world.administration.unload("price")
    other = await World(world.root).start()
    assert other.names.suspended == {"price"}
    assert other.states() == {}
    assert [status.detail for status in other.catalog.status("price")] == [UNLOADED, UNLOADED]
    with pytest.raises(VersionUnavailableError, match=UNLOADED):
        await other.version(name="price")
    await other.administration.load("price")
    await world.look()
    await world.reconciler.settle()
    assert await world.version(name="price") == 1


async def test_a_read_only_store_refuses_to_unload_and_goes_on_serving(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> bool:
        raise StoreReadOnlyError("cannot write models/price/suspended.json: Read-only file system")

    monkeypatch.setattr(world.store.blobs, "put_if_absent", refuse)
    with pytest.raises(StoreReadOnlyError, match="Read-only file system"):
        await world.administration.unload("price")
    assert await world.version(name="price") == 1
    await world.administration.load("price")  # it is not suspended, so there is nothing to write


async def test_a_load_that_comes_while_unloading_wins_and_neither_waits_for_ever(world: World) -> None:
    lease = world.manager.lease(ONE)
    unloading = asyncio.create_task(world.administration.unload("price"))
    await until(lambda: world.states().get(ONE) is State.UNLOADING)
    loading = asyncio.create_task(world.administration.load("price"))
    await until(lambda: not world.names.suspended)
    lease.release()
    await asyncio.gather(unloading, loading)
    assert world.states() == {ONE: State.AVAILABLE, TWO: State.AVAILABLE}


async def test_an_unload_that_comes_while_loading_ends_the_load_with_an_error(world: World) -> None:
    await world.administration.unload("price")
    world.held.update((ONE, TWO))
    loading = asyncio.create_task(world.administration.load("price"))
    await until(lambda: world.states().get(TWO) is State.LOADING)
    unloading = asyncio.create_task(world.administration.unload("price"))
    await until(lambda: world.names.suspended == {"price"})
    await world.released(TWO)
    await unloading
    with pytest.raises(VersionUnavailableError):
        await loading


async def test_a_model_that_cannot_be_loaded_says_why(world: World) -> None:
    world.broken.add(VersionKey("rank", 1))
    world.publish("rank")
    with pytest.raises(VersionUnavailableError, match="rank version 1 is broken"):
        await world.administration.load("rank")
    world.broken.clear()
    await world.administration.load("rank")
    assert world.manager.latest("rank") == 1


async def test_there_is_no_loading_what_does_not_exist(world: World) -> None:
    for change in (world.administration.load("nothing"), world.administration.unload("nothing")):
        with pytest.raises(ModelNotFoundError):
            await change
    assert world.names.suspended == set()
