"""The native data plane is kept in step; here with one that only writes down what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from tests.gateway.world import World, table, turns
from tests.records import DECISION
from turnout_server.engine.plane import EnginePlane, NativeServable, Terms
from turnout_server.engine.records import Ended, NativeRequests, NativeRuns, Problem
from turnout_server.gateway.native import NativePlane
from turnout_server.gateway.records import Records
from turnout_server.instruments.families import Counted
from turnout_server.instruments.instruments import REQUEST_BOUNDS_NS, RUN_BOUNDS_NS, Instruments
from turnout_server.instruments.statistics import Alike, RunsAlike
from turnout_server.routing.view import View
from turnout_server.serving.state import State
from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.record import Record
from turnout_server.vocabulary.versions import VersionKey

ONE, TWO = VersionKey("price", 1), VersionKey("price", 2)
NOTHING = Ended([], [], [], None)
METHOD = "turnout.v1.RankingService/Rank"


class Inner:
    holds = 0
    timed_out = 0

    def __init__(self) -> None:
        self.notes: tuple[int, list[tuple[int, int, int]]] = (0, [])

    def take_notes(self) -> tuple[int, list[tuple[int, int, int]]]:
        taken, self.notes = self.notes, (0, [])
        return taken


class Keeper:
    """Keeps what it is shown, in order."""

    def __init__(self) -> None:
        self.kept: list[object] = []
        self.append = self.extend = self.kept.append


class FakePlane:
    """Writes down what it is told, and tells what it is given."""

    inside, declined, spans_lost = 3, 4, 5

    def __init__(self) -> None:
        self.served: list[tuple[list[str], set[VersionKey]]] = []
        self.terms: list[Terms] = []
        self.inners: list[Inner] = []
        self.next = NOTHING
        self.numbers = 0

    def servable(self, terms: Terms, session: object) -> NativeServable:
        self.terms.append(terms)
        if session == "odd":
            raise ValueError("odd")
        self.inners.append(Inner())
        return NativeServable(terms.number, terms.key, cast("Any", self.inners[-1]))

    def serve(self, view: View, stored: Collection[str], servables: Iterable[NativeServable]) -> None:
        self.served.append(([route.name for route in view.table], {each.key for each in servables}))

    def ended(self) -> Ended:
        told, self.next = self.next, NOTHING
        return told

    def number(self) -> tuple[Ended, int]:
        self.numbers += 1
        return self.ended(), self.numbers - 1


def native(world: World) -> tuple[FakePlane, NativePlane]:
    plane = FakePlane()
    driver = NativePlane(cast("EnginePlane", plane), world.names, world.manager, world.instruments, lambda code: code)
    return plane, driver


async def serving(tmp_path: Path) -> tuple[World, FakePlane, NativePlane]:
    """Return a gateway whose one version the engine serves."""
    world = World(tmp_path / "store")
    plane, driver = native(world)
    world.publish("price")
    await world.start()
    world.predictors[ONE].native = object()
    driver.publish()
    return world, plane, driver


def counts(bounds: tuple[int, ...], observations: int) -> list[int]:
    return [observations] + [0] * len(bounds)


def alike(code: str = "OK", observations: int = 2, told: str = "") -> NativeRequests:
    took, queue = counts(REQUEST_BOUNDS_NS, observations), counts(RUN_BOUNDS_NS, observations)
    requests = Alike(DECISION, code, Counted(took, 50), Counted(queue, 8), 6, 7_000_000, 8, 1, 30, 2)
    return NativeRequests(METHOD, told or code, requests)


async def test_a_view_is_told_at_once_and_versions_soon(tmp_path: Path) -> None:
    world = World(tmp_path / "store")
    plane, driver = native(world)
    world.publish("price", "champion")
    world.routes(table("a price champion 1", route="cost"))
    await world.start()
    assert plane.served[0] == (["cost"], set()), "the table, before anything could be loaded"
    world.predictors[ONE].native = object()
    driver.publish()
    assert plane.served[-1] == (["cost"], {ONE})
    assert (plane.terms[0].key, plane.terms[0].batched, plane.terms[0].measured) == (ONE, True, {1: 1})
    assert plane.terms[0].needs == {1: 100}
    world.publish("price", "champion")
    await world.look()
    before = len(plane.served)
    world.predictors[TWO].native = object()
    while len(plane.served) == before or TWO not in plane.served[-1][1]:
        await asyncio.sleep(0)
    assert [terms.key for terms in plane.terms] == [ONE, TWO], "each version is made once"
    assert driver.plane is cast("Any", plane)


async def test_a_version_that_only_python_can_run_is_left_to_it(tmp_path: Path) -> None:
    world = World(tmp_path / "store")
    plane, driver = native(world)
    world.publish("price")
    await world.start()
    driver.publish()
    assert plane.served[-1] == ([], set())
    assert plane.terms == []


async def test_a_version_that_the_engine_cannot_serve_keeps_no_other_from_it(tmp_path: Path) -> None:
    world = World(tmp_path / "store")
    plane, driver = native(world)
    world.publish("price")
    world.publish("rank")
    await world.start()
    world.predictors[ONE].native, world.predictors[VersionKey("rank", 1)].native = "odd", object()
    driver.publish()
    driver.publish()
    assert [served for _, served in plane.served[-2:]] == [{VersionKey("rank", 1)}] * 2
    assert [terms.key for terms in plane.terms].count(ONE) == 1, "it is asked once"


async def test_what_has_ended_is_counted_and_shown_to_those_who_keep_records(tmp_path: Path) -> None:
    world, plane, driver = await serving(tmp_path)
    read, keeper, page = list[Record](), Keeper(), cast("Any", object())
    driver.show = Records([read.append], "boot", driver, keeper).show
    runs = RunsAlike(3, 3, False, Counted(counts(RUN_BOUNDS_NS, 4), 400), 90, 8, 4)
    plane.next = Ended(
        [alike(), alike("QUEUE_FULL", 1), alike("OK", 1, told="MODEL_INVALID")],
        [NativeRuns(1, runs), NativeRuns(99, runs)],
        [],
        page,
    )
    driver.spans_unsent = lambda: 6
    suppressed: list[tuple[Decision, int]] = []
    driver.count_suppressed = lambda decision, count: suppressed.append((decision, count))
    driver.catch_up()
    assert suppressed == [(DECISION, 2), (DECISION, 1), (DECISION, 1)]
    assert (read, keeper.kept) == ([], [page])
    runner = world.manager.peek(ONE)
    assert runner is not None
    assert plane.terms[0].room is runner.room
    assert (plane.terms[0].queue_wait_s, plane.terms[0].queue_requests) == (1e6, 64), "as the limits say"
    plane.terms[0].room.take(5, 20)
    assert (runner.statistics.execution_count, runner.costs.least(3)) == (4, 90.0)
    points = {family.name: dict(family.points) for family in world.instruments.families()}
    assert sorted(points["turnout.requests"].values()) == [1, 3]
    rpcs = {key: sum(point.counts) for key, point in points["rpc.server.call.duration"].items()}
    assert rpcs == {(METHOD, "OK"): 2, (METHOD, "QUEUE_FULL"): 1, (METHOD, "MODEL_INVALID"): 1}
    assert points["turnout.requests.in_flight"] == {(): 3}
    assert points["turnout.queue.rows"] == {ONE: 5}, "wherever they wait, each once"
    assert points["turnout.engine.declined"] == {(): 4}
    assert points["turnout.engine.spans.lost"] == {("no_room",): 5, ("unsent",): 6}


async def test_a_version_stays_until_its_last_run_there_was_counted(tmp_path: Path) -> None:
    world, plane, driver = await serving(tmp_path)
    runner = world.manager.peek(ONE)
    assert runner is not None
    plane.inners[0].holds = 1
    world.store.suspend("price")
    await world.look()
    driver.publish()
    assert plane.served[-1] == ([], set()), "no request comes any more"
    driver.catch_up()
    assert world.states()[ONE] is State.UNLOADING
    plane.inners[0].holds = 0
    plane.next = Ended(
        [], [NativeRuns(1, RunsAlike(3, 3, False, Counted(counts(RUN_BOUNDS_NS, 4), 400), 90, 8, 4))], [], None
    )
    driver.catch_up()
    assert runner.statistics.execution_count == 4
    await turns()
    assert ONE not in world.states()


async def test_idle_versions_go_at_once_and_at_the_end_all_do(tmp_path: Path) -> None:
    world = World(tmp_path / "store")
    plane, driver = native(world)
    world.publish("price")
    world.publish("rank")
    await world.start()
    for predictor in world.predictors.values():
        predictor.native = object()
    driver.publish()
    world.store.suspend("price")
    await world.look()
    driver.publish()
    await turns()
    assert ONE not in world.states()
    plane.inners[1].holds = 1
    driver.close()
    world.store.suspend("rank")
    await world.look()
    assert world.states() == {}


async def test_what_is_odd_about_features_is_counted_with_what_python_counts(tmp_path: Path) -> None:
    world, plane, driver = await serving(tmp_path)
    plane.inners[0].notes = 9, [(0, 0, 4), (0, 2, 1)]
    driver.catch_up()
    driver.catch_up()
    points = {family.name: dict(family.points) for family in world.instruments.families()}
    assert points["turnout.feature.rows"] == {ONE: 9}
    assert points["turnout.features.odd"] == {(*ONE, "x", "defaulted"): 4, (*ONE, "x", "out_of_range"): 1}


async def test_an_end_here_comes_after_those_that_were_numbered_before_it(tmp_path: Path) -> None:
    world = World(tmp_path / "store")
    plane, driver = native(world)
    keeper, page = Keeper(), cast("Any", object())
    records = Records([], "boot", driver, keeper)
    plane.next = Ended([], [], [], page)
    plane.numbers = 1
    records.copy_ended(Record(9, 1, 2, "OK", DECISION, "r"), DECISION, "OK", 1, 2)
    first, second = keeper.kept
    assert (first, cast("Record", second).seq) == (page, 1)


async def test_a_model_that_fails_is_logged_with_its_callers_trace(tmp_path: Path) -> None:
    plane, driver = native(World(tmp_path / "store"))
    problems = [
        Problem(METHOD, "MODEL_FAILED", "node x", "price", 3, ("aa", "bb")),
        Problem(METHOD, "INPUT_REJECTED", "theirs", "price", 3, None),
    ]
    plane.next = Ended([], [], problems, None)
    with capture_logs() as logs:
        driver.catch_up()
    (logged,) = logs
    assert (logged["reason"], logged["problem"], logged["trace_id"], logged["span_id"]) == (
        "MODEL_FAILED",
        "node x",
        "aa",
        "bb",
    )


async def test_what_a_model_said_is_logged_with_its_version(tmp_path: Path) -> None:
    """So that two models that say the same are no repetition of each other."""
    plane, driver = native(World(tmp_path / "store"))
    whose = [("price", 3), ("rank", 7)]
    plane.next = Ended([], [], [Problem(METHOD, "MODEL_FAILED", "node x", *one, None) for one in whose], None)
    with capture_logs() as logs:
        driver.catch_up()
    assert [(logged["model"], logged["version"]) for logged in logs] == whose


async def test_who_reads_figures_gets_them_as_they_are(tmp_path: Path) -> None:
    """On the event loop's thread as on another, where metrics are scraped."""
    world = World(tmp_path / "store")
    plane, driver = native(world)
    following = asyncio.create_task(driver.follow())
    await asyncio.sleep(0)
    plane.next = Ended([alike()], [], [], None)
    assert requests(world.instruments) == 2
    plane.next = Ended([alike()], [], [], None)
    assert await asyncio.to_thread(requests, world.instruments) == 4
    following.cancel()


async def test_the_engine_is_asked_more_seldom_while_nothing_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane, driver = native(World(tmp_path / "store"))
    waits: list[float] = []

    async def sleep(delay: float) -> None:
        waits.append(delay)
        if len(waits) == 5:
            plane.next = Ended([alike()], [], [], None)
        if len(waits) == 7:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await driver.follow()
    assert waits == [0.05, 0.1, 0.2, 0.25, 0.25, 0.05, 0.1]


def requests(instruments: Instruments) -> int:
    points = {family.name: dict(family.points) for family in instruments.families()}
    return sum(points["turnout.requests"].values())
