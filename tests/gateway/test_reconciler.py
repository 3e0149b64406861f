"""What changes in the store takes effect without one failed request, and what is wrong there changes nothing."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.gateway.world import Traffic, World, query, table, turns
from turnout_server.gateway import reconciler as reconciler_module
from turnout_server.routing.overlay import Overlay, Step, encode, footing
from turnout_server.routing.text import parse
from turnout_server.serving.state import State
from turnout_server.store.audit import By
from turnout_server.vocabulary.errors import InvalidRouteTableError, StoreError
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.versions import VersionKey

ONE, TWO = VersionKey("price", 1), VersionKey("price", 2)
BY_LABEL = table("only price champion 1")


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return World(tmp_path / "store")


async def labelled(world: World) -> World:
    """Serve version 1 as champion, behind a route."""
    world.publish("price", "champion")
    world.routes(BY_LABEL)
    return await world.start()


# ---------------------------------------------------------------- while requests run


async def test_a_moved_label_takes_effect_without_a_failed_request(world: World) -> None:
    await labelled(world)
    traffic = Traffic(world, unit="u")
    world.held.add(TWO)
    world.publish("price", "champion")
    await world.look()
    assert world.states() == {ONE: State.AVAILABLE, TWO: State.LOADING}
    assert set(traffic.answered) == {1}
    await world.released(TWO)
    await turns()
    assert world.states() == {TWO: State.AVAILABLE}
    assert set(await traffic.stop()) == {1, 2}
    assert world.predictors[ONE].closed
    assert world.leases() == 0


async def test_a_new_version_of_a_bare_model_takes_over_without_a_failed_request(world: World) -> None:
    world.publish()
    await world.start()
    traffic = Traffic(world)
    world.held.add(TWO)
    world.publish()
    await world.look()
    await world.released(TWO)
    assert set(await traffic.stop()) == {1, 2}
    assert world.states() == {TWO: State.AVAILABLE}


async def test_an_edited_table_takes_effect_without_a_failed_request(world: World) -> None:
    world.publish()
    world.publish()
    world.routes(table("only price 1 1"))
    await world.start()
    traffic = Traffic(world)
    world.publish()
    three = VersionKey("price", 3)
    world.held.add(three)
    world.routes(table("only price 3 1"))
    await world.look()
    assert world.reconciler.table_problem == "$.routes.price.targets[0]: price version 3 is LOADING"
    await world.released(three)
    assert world.reconciler.table_problem == ""
    assert set(await traffic.stop()) == {1, 3}
    assert world.reloads == ["ok", "ok"]


async def test_the_first_table_of_a_running_gateway_waits_for_its_versions_too(world: World) -> None:
    """A route takes over the name of a model that is being asked for already."""
    world.publish()
    world.publish()
    await world.start()
    traffic = Traffic(world)
    world.held.add(ONE)
    world.routes(table("only price 1 1"))
    await world.look()
    assert len(world.names.table) == 0
    await world.released(ONE)
    assert set(await traffic.stop()) == {1, 2}


async def test_labels_that_move_again_and_again_never_fail_a_request(world: World) -> None:
    await labelled(world)
    traffic = Traffic(world, unit="u")
    for number in range(2, 8):
        world.publish("price", "champion")
        await world.look()
        assert world.states() == {VersionKey("price", number): State.AVAILABLE}
    assert len(await traffic.stop()) > 1
    assert all(world.predictors[VersionKey("price", number)].closed for number in range(1, 7))


# ---------------------------------------------------------------- versions that are no good


async def test_a_version_that_fails_to_load_leaves_the_old_one_serving(world: World) -> None:
    await labelled(world)
    world.broken.add(TWO)
    world.publish("price", "champion")
    await world.look()
    assert world.states() == {ONE: State.AVAILABLE, TWO: State.FAILED}
    assert await world.version(unit="u") == 1


async def test_a_version_that_loads_at_a_later_try_takes_over(world: World) -> None:
    await labelled(world)
    world.broken.add(TWO)
    world.publish("price", "champion")
    await world.look()
    world.broken.clear()
    world.now += 1.0
    await world.look()
    assert world.states() == {TWO: State.AVAILABLE}
    assert await world.version(unit="u") == 2


async def test_a_table_on_a_version_that_fails_is_refused_once_and_adopted_when_it_loads_after_all(
    world: World,
) -> None:
    await labelled(world)
    world.broken.add(TWO)
    world.publish()
    world.routes(table("only price 2 1"))
    await world.look()
    for _ in range(3):
        world.now += 400.0
        await world.look()
    problem = "$.routes.price.targets[0]: price version 2 is FAILED: price version 2 is broken"
    assert world.reconciler.table_problem == problem
    assert world.reloads == ["ok", "refused"]
    assert await world.version(unit="u") == 1
    world.broken.clear()
    world.now += 400.0
    await world.look()
    assert world.reconciler.table_problem == ""
    assert world.reloads == ["ok", "refused", "ok"]
    assert await world.version(unit="u") == 2


async def test_a_version_deleted_while_it_serves_goes_on_serving_and_may_come_back(world: World) -> None:
    await labelled(world)
    directory = world.root / "models/price/1"
    world.publish("other")
    await world.look()
    away = world.root.parent / "away"
    directory.rename(away)
    await world.look()
    assert await world.version(unit="u") == 1
    away.rename(directory)
    await world.look()
    assert await world.version(unit="u") == 1
    assert world.predictors[ONE].closed is False


async def test_a_model_that_nothing_stands_on_goes_when_it_is_deleted(world: World) -> None:
    world.publish()
    world.publish("other")
    await world.start()
    (world.root / "models" / "price").rename(world.root.parent / "away")
    await world.look()
    assert list(world.states()) == [VersionKey("other", 1)]
    assert world.predictors[ONE].closed
    (world.root.parent / "away").rename(world.root / "models" / "price")
    await world.look()
    assert await world.version() == 1


# ---------------------------------------------------------------- stores and tables that are no good


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("routes: [", "line 1"),
        ("routes:\n  price: {}\n", "$.routes.price"),
        (table("only price nolabel 1"), "$.routes.price.targets[0].version: 'price' has no label 'nolabel'"),
        (table("only price 99 1"), "$.routes.price.targets[0].version: 'price' has no version 99; it has 1"),
        (table("only nomodel 1 1"), "$.routes.price.targets[0].model: the store has no model 'nomodel'"),
        (table("only price 1 1", task="ranking"), "$.routes.price.targets[0].model: price version 1 does tensors"),
        (
            table("only price 1 1", more="    mirrors:\n      - {model: price, version: 7}\n"),
            "$.routes.price.mirrors[0].version",
        ),
    ],
)
async def test_a_bad_table_leaves_the_old_one_serving_and_says_why(world: World, text: str, problem: str) -> None:
    await labelled(world)
    world.routes(text)
    await world.look()
    await world.look()
    assert world.reconciler.table_problem.startswith(problem)
    assert await world.version(unit="u") == 1
    assert world.reloads == ["ok", "refused"]
    world.routes(BY_LABEL)
    await world.look()
    assert world.reconciler.table_problem == ""


async def test_a_table_that_is_gone_goes_on_serving_and_one_without_routes_ends_it(world: World) -> None:
    await labelled(world)
    (world.root / "routes.yaml").unlink()
    await world.look()
    assert "is gone" in world.reconciler.table_problem
    assert world.names.table.get("price") is not None
    world.routes("routes: {}\n")
    await world.look()
    assert world.reconciler.table_problem == ""
    assert len(world.names.table) == 0


async def test_a_manifest_that_cannot_be_read_for_a_new_table_holds_up_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await labelled(world)

    def unreadable(model: str, version: int) -> None:
        raise StoreError("read a manifest: permission denied")

    monkeypatch.setattr(world.store, "manifest", unreadable)
    world.routes(table("only price 1 1"))
    world.publish("other")
    monkeypatch.setattr(world.store, "verify", lambda model, version: None)
    world.held.add(VersionKey("other", 1))
    await world.look()
    assert world.reconciler.table_problem == "read a manifest: permission denied"
    assert VersionKey("other", 1) in world.states()


async def test_labels_that_cannot_be_read_for_a_while_change_nothing(world: World) -> None:
    await labelled(world)
    labels = world.root / "models" / "price" / "labels.json"
    good = labels.read_text()
    labels.write_text("{")
    await world.look()
    assert world.names.stored_labels("price") == {"champion": 1}
    assert await world.version(unit="u") == 1
    labels.write_text(good)
    world.publish("price", "champion")
    await world.look()
    assert await world.version(unit="u") == 2


async def test_a_label_that_is_removed_goes_on_for_the_routes_that_need_it(world: World) -> None:
    await labelled(world)
    world.publish()
    world.store.set_label("price", "champion", None)
    await world.look()
    assert await world.version(unit="u") == 1


@pytest.mark.parametrize("what", ["models", "."])
async def test_a_store_that_is_not_there_for_a_while_changes_nothing(world: World, what: str) -> None:
    await labelled(world)
    place, away = (world.root / what).resolve(), world.root.parent / "away"
    place.rename(away)
    with pytest.raises(StoreError):
        await world.reconciler.look()
    assert await world.version(unit="u") == 1
    away.rename(place)
    world.publish("price", "champion")
    await world.look()
    assert await world.version(unit="u") == 2


async def test_polling_outlives_every_error_and_says_each_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await labelled(world)
    logged: list[str] = []
    looks: list[Exception | None] = [StoreError("gone"), StoreError("gone"), OSError("odd"), None, StoreError("gone")]
    polled = asyncio.Event()

    async def look() -> None:
        if not looks:
            polled.set()
            await asyncio.Event().wait()
        if (error := looks.pop(0)) is not None:
            raise error

    class Log:
        def error(self, event: str, **fields: object) -> None:
            logged.append("cannot be read")

        def exception(self, event: str) -> None:
            logged.append("odd")

        def info(self, event: str) -> None:
            logged.append("again")

    monkeypatch.setattr(world.reconciler, "look", look)
    monkeypatch.setattr(reconciler_module, "_log", Log())
    task = asyncio.create_task(world.reconciler.poll(0.0))
    await polled.wait()
    task.cancel()
    assert logged == ["cannot be read", "odd", "again", "cannot be read"]


async def test_a_look_that_never_ends_is_an_error_that_shows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it for ever, nobody begins another one beside it, and the next one is as always."""
    await labelled(world)
    looks, go_on = [], threading.Event()
    take = world.reconciler._take_look

    def slowly() -> reconciler_module.Look:
        looks.append(1)
        go_on.wait()
        return take()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(world.reconciler, "_take_look", slowly)
        patched.setattr(reconciler_module, "LOOK_S", 0.01)
        for _ in range(3):
            with pytest.raises(StoreError, match="has taken more than"):
                await world.reconciler.look()
        assert len(looks) == 1
        assert await world.version(unit="u") == 1
        go_on.set()
    world.publish("price", "champion")
    await world.look()
    await world.look()
    assert await world.version(unit="u") == 2


async def test_the_first_look_takes_as_long_as_it_takes_and_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish("price", "champion")
    said, go_on = asyncio.Event(), threading.Event()
    take = world.reconciler._take_look

    def slowly() -> reconciler_module.Look:
        assert go_on.wait(30)
        return take()

    class Log:
        def warning(self, event: str, **fields: object) -> None:
            said.set()

        def info(self, event: str, **fields: object) -> None:
            pass

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(world.reconciler, "_take_look", slowly)
        patched.setattr(reconciler_module, "LOOK_S", 0.01)
        patched.setattr(reconciler_module, "_log", Log())
        looking = asyncio.create_task(world.reconciler.first_look())
        await said.wait()
        go_on.set()
        await looking
    assert "price" in world.names.models


async def test_a_caller_who_gives_up_does_not_make_two_look_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await labelled(world)
    entered, go_on = threading.Event(), threading.Event()
    take = world.reconciler._take_look

    def slowly() -> reconciler_module.Look:
        entered.set()
        go_on.wait()
        return take()

    monkeypatch.setattr(world.reconciler, "_take_look", slowly)
    impatient = asyncio.create_task(world.reconciler.look())
    await asyncio.to_thread(entered.wait)
    impatient.cancel()
    await turns()
    assert impatient.cancelled()
    assert world.reconciler._looking.locked()
    world.publish("other")
    go_on.set()
    await world.look()
    assert VersionKey("other", 1) in world.states()


async def test_checking_a_table_adopts_nothing(world: World) -> None:
    await labelled(world)
    checked = await world.reconciler.check_table(table("only price 1 1", route="other"))
    assert checked.get("other") is not None
    with pytest.raises(InvalidRouteTableError, match="no model 'nomodel'"):
        await world.reconciler.check_table(table("only nomodel 1 1"))
    assert world.names.table.get("other") is None


async def test_a_table_outside_the_store_is_used_in_place_of_the_stores(world: World) -> None:
    world.publish("price", "champion")
    world.routes("routes: [broken")
    world.reconciler._tables.file = world.root.parent / "mine.yaml"
    await world.start()
    assert "does not exist" in world.reconciler.table_problem
    world.reconciler._tables.file.write_text(BY_LABEL)
    await world.look()
    assert world.names.table.get("price") is not None
    world.reconciler._tables.file.write_bytes(b"\xff")
    await world.look()
    assert "not UTF-8" in world.reconciler.table_problem
    assert await world.version(unit="u") == 1


async def test_at_the_start_a_table_is_adopted_though_one_of_its_versions_fails(world: World) -> None:
    world.publish("price", "champion")
    world.publish("price", task=Task.TENSORS)
    world.broken.add(TWO)
    world.routes(table("bad price 2 1", "good price 1 0", more="    fallback: good\n"))
    await world.start()
    assert await world.version(unit="u") == 1


async def test_a_target_that_gets_no_requests_is_not_waited_for(world: World) -> None:
    await labelled(world)
    world.held.add(TWO)
    world.publish()
    world.routes(table("busy price 1 1", "idle price 2 0"))
    await world.look()
    assert len(next(iter(world.names.table)).route.targets) == 2
    await world.released(TWO)


async def test_a_look_that_brings_nothing_new_is_not_acted_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle gateway with many models does nothing, nor where a version that nothing waits for is loaded."""
    world.publish("price", "champion")
    await world.start()
    acted: list[bool] = []
    advance = world.reconciler.advance
    monkeypatch.setattr(world.reconciler, "advance", lambda: (acted.append(True), advance())[1])
    await world.look()
    world.reconciler.version_changed()
    await turns()
    assert not acted
    world.publish("price", "champion")
    await world.look()
    assert acted
    assert await world.version() == 2


async def test_a_store_that_takes_long_to_look_at_is_looked_at_more_seldom(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.start()
    assert world.reconciler._look is not None
    world.reconciler._look = world.reconciler._look._replace(took_s=0.5)
    waits: list[float] = []

    async def sleep(delay: float) -> None:
        waits.append(delay)
        raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await world.reconciler.poll(1.0)
    assert waits == [50.0]


# ---------------------------------------------------------------- kept warm


async def back_and_forth(tmp_path: Path, keep_warm_s: float) -> World:
    """Champion moves from 1 to 2, so that nothing names 1 any more."""
    world = await labelled(World(tmp_path / "store", keep_warm_s=keep_warm_s))
    world.publish("price", "champion")
    await world.look()
    assert (world.names.status_of(ONE).state is State.AVAILABLE) == (keep_warm_s > 0)
    return world


async def test_going_back_to_what_a_label_left_needs_no_load(tmp_path: Path) -> None:
    world = await back_and_forth(tmp_path, 300.0)
    first = world.predictors[ONE]
    status = world.names.status_of(ONE)
    assert (status.state, status.detail) == (State.AVAILABLE, "kept warm for another 300 s")
    assert world.catalog.status("price")[0].detail == "kept warm for another 300 s"
    world.now += 299.0
    world.store.set_label("price", "champion", 1)
    await world.look()
    assert world.predictors[ONE] is first
    assert world.names.status_of(ONE).detail == ""
    assert (await world.data_plane.infer(query(unit="u"))).decision.version == 1


async def test_without_a_time_it_goes_at_once(tmp_path: Path) -> None:
    await back_and_forth(tmp_path, 0.0)


async def test_what_is_warm_goes_when_its_time_is_over(tmp_path: Path) -> None:
    world = await back_and_forth(tmp_path, 300.0)
    world.now += 300.0
    world.reconciler.advance()
    await turns()
    assert world.names.status_of(ONE).state is State.STORED
    assert world.predictors[ONE].closed


async def test_what_is_warm_makes_room_for_what_is_to_be_loaded(tmp_path: Path) -> None:
    world = await back_and_forth(tmp_path, 300.0)
    world.reconciler.make_room(TWO, 10, 10)
    assert world.names.status_of(ONE).state is State.AVAILABLE
    with capture_logs() as logs:
        world.reconciler.make_room(TWO, 10, 9)
    await turns()
    assert world.names.status_of(ONE).state is State.STORED
    assert [line["versions"] for line in logs] == [["price version 1"]]


async def test_a_model_that_is_unloaded_is_not_kept_warm(tmp_path: Path) -> None:
    world = await back_and_forth(tmp_path, 300.0)
    await world.administration.unload("price")
    assert world.names.status_of(ONE).state is State.STORED


async def test_a_version_that_the_store_has_no_more_is_not_kept_warm(tmp_path: Path) -> None:
    world = await back_and_forth(tmp_path, 300.0)
    shutil.rmtree(world.root / "models/price/1")
    await world.look()
    assert world.predictors[ONE].closed
    assert [status.key.version for status in world.catalog.status("price")] == [2]


async def test_a_target_that_leaves_its_route_is_kept_warm(tmp_path: Path) -> None:
    world = World(tmp_path / "store", keep_warm_s=300.0)
    for _ in range(2):
        world.publish("price")
    world.routes(table("only price 1 1"))
    await world.start()
    world.routes(table("only price 2 1"))
    await world.look()
    assert world.names.status_of(ONE).detail == "kept warm for another 300 s"


# ---------------------------------------------------------------- what the log says of a table


async def adopted(world: World) -> dict[str, object]:
    with capture_logs() as logs:
        await world.look()
    (line,) = [line for line in logs if line["event"] == "route table adopted"]
    return dict(line)


async def test_the_log_says_what_changed_and_by_whom(tmp_path: Path) -> None:
    world = World(tmp_path / "store")
    world.publish("price", "champion")
    world.publish("price", "challenger")
    world.routes(table("a price champion 90", "b price challenger 10"))
    await world.start()
    text = table("a price champion 75", "b price challenger 25")
    world.store.write_routes(text, by=By("ada@laptop", "turnout routes set"))
    line = await adopted(world)
    assert line["changes"] == ["~ price: a: share 90 % -> 75 %", "~ price: b: share 10 % -> 25 %"]
    assert (line["by"], line["how"]) == ("ada@laptop", "turnout routes set")
    world.routes(text.replace("25", "50"))
    line = await adopted(world)
    assert (line["by"], line["how"]) == ("not known", "outside Turnout")
    world.routes(text)  # as it was, but not by her this time
    world.store.write_routes(table("a price champion 1"), by=By("bob", "turnout routes apply"))
    assert (await adopted(world))["by"] == "bob"
    world.routes(text)
    assert (await adopted(world))["by"] == "not known"


async def test_of_very_many_changes_the_first_are_said(tmp_path: Path) -> None:
    world = World(tmp_path / "store")
    world.publish("price", "champion")
    targets = [f"t{number} price champion 1" for number in range(30)]
    world.routes(table(*targets))
    await world.start()
    world.routes(table(*targets, "more price champion 1"))
    said = (await adopted(world))["changes"]
    assert isinstance(said, list)
    assert (len(said), said[-1]) == (21, "and 11 more")


# ---------------------------------------------------------------- what is decided about routes


async def split(world: World) -> str:
    """Serve two versions, behind a route with an experiment of all units."""
    world.publish()
    world.publish()
    text = table("control price 1 1", "canary price 2 1") + "    experiment: {name: x, control: control}\n"
    world.routes(text)
    await world.start()
    return text


def decide_on(world: World, text: str, **step: Any) -> None:
    found = parse(text).require("price").route
    one = Step(at="2026-11-29T12:00:00Z", by="ada", how="turnout experiment pause", **step)
    on = footing(found, weights=bool(one.weights))
    overlay = Overlay(format=1, route="price", on=on, experiment="x", control="control", step=one)
    world.store.rollouts.change("price", lambda raw: encode(overlay), "decided", By("ada"))


async def versions(world: World) -> set[int]:
    return {await world.version(unit=f"unit-{number}") for number in range(40)}


async def test_a_pause_is_in_force_with_the_next_look_and_says_whose_it_is(world: World) -> None:
    text = await split(world)
    assert await versions(world) == {1, 2}
    epoch = world.names.epoch_of("price")
    decide_on(world, text, enrolment=0.0, resumes_at=1.0)
    with capture_logs() as logs:
        await world.look()
    assert await versions(world) == {1}
    assert {record.decision.reason.value for record in world.ended[-40:] if record.decision} == {"UNENROLLED"}
    (adopted,) = [line for line in logs if line["event"] == "route table adopted"]
    assert adopted["changes"] == ["~ price: experiment x: enrolment 100 % -> 0 %"]
    assert (adopted["by"], adopted["how"]) == ("ada", "turnout experiment pause")
    assert world.names.epoch_of("price") == epoch
    decide_on(world, text, enrolment=1.0)
    await world.look()
    assert await versions(world) == {1, 2}


async def test_a_pause_waits_neither_for_a_broken_table_nor_for_a_version_that_fails(world: World) -> None:
    text = await split(world)
    world.broken.add(VersionKey("price", 3))
    world.publish()
    world.routes(text.replace("canary, model: price, version: 2", "canary, model: price, version: 3"))
    await world.look()
    assert "FAILED" in world.reconciler.table_problem
    decide_on(world, text, enrolment=0.0, resumes_at=1.0)
    await world.look()
    assert await versions(world) == {1}
    assert "FAILED" in world.reconciler.table_problem
    world.routes("routes: [")
    decide_on(world, text, enrolment=1.0)
    await world.look()
    assert await versions(world) == {1, 2}


async def test_weights_that_give_a_target_its_first_requests_wait_for_its_version(world: World) -> None:
    await split(world)
    three = VersionKey("price", 3)
    world.held.add(three)
    world.publish()
    text = table("control price 1 1", "canary price 3 0") + "    experiment: {name: x, control: control}\n"
    world.routes(text)
    await world.look()
    assert await versions(world) == {1}
    decide_on(world, text, weights={"canary": 1.0})
    await world.look()
    assert world.reconciler.table_problem == "$.routes.price.targets[1]: price version 3 is LOADING"
    assert await versions(world) == {1}
    await world.released(three)
    assert await versions(world) == {1, 3}


async def test_a_broken_decision_leaves_the_one_before_it_in_force_and_shows(world: World) -> None:
    text = await split(world)
    decide_on(world, text, enrolment=0.0, resumes_at=1.0)
    await world.look()
    world.store.rollouts.change("price", lambda raw: b"{", "broken", By("eve"))
    with capture_logs() as logs:
        await world.look()
        await world.look()
    assert await versions(world) == {1}
    shown = world.catalog.rollout("price")
    assert shown is not None
    assert shown.resumes_at == 1.0
    assert shown.problem.startswith("rollouts/price.json: not JSON")
    assert world.reconciler.table_problem == ""
    told = [line["route"] for line in logs if line["event"] == "what was decided about a route is not in force"]
    assert told == ["price"]
    decide_on(world, text, enrolment=1.0)
    await world.look()
    assert world.reconciler.left_out == {}
    assert await versions(world) == {1, 2}


async def test_a_person_who_changes_the_experiment_in_the_table_is_right(world: World) -> None:
    text = await split(world)
    decide_on(world, text, enrolment=0.0, resumes_at=1.0)
    await world.look()
    assert await versions(world) == {1}
    world.routes(text.replace("control: control", "control: control, enrolment: 0.9"))
    await world.look()
    assert await versions(world) == {1, 2}
    assert "was changed in the route table" in world.reconciler.left_out["price"]
