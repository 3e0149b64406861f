"""The manager gets to every wish, and never at the cost of what serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.fakes import ManualExecutor, turns
from turnout_server.serving import manager as manager_module
from turnout_server.serving.harness import FIRST_RETRY_S, LONGEST_RETRY_S, Lease, retry_delay
from turnout_server.serving.manager import Manager
from turnout_server.serving.state import State, VersionStatus
from turnout_server.serving.transition_policy import Action, Snapshot, next_action
from turnout_server.vocabulary.errors import InvalidModelError, VersionUnavailableError
from turnout_server.vocabulary.versions import VersionKey

ONE, TWO = VersionKey("price", 1), VersionKey("price", 2)
KEYS = (VersionKey("a", 1), VersionKey("a", 2), VersionKey("a", 3), VersionKey("b", 1))


@dataclass(eq=False)
class Servable:
    key: VersionKey


class World:
    """A manager on a clock and a loader that do as they are told; broken rules are noted where they are broken."""

    def __init__(self, loaders: int = 1) -> None:
        self.now = 1000.0
        self.loaders = loaders
        self.broken: set[VersionKey] = set()
        self.wish: frozenset[VersionKey] = frozenset()
        self.in_use: frozenset[VersionKey] = frozenset()
        self.states: dict[VersionKey, State] = {}
        self.leases: list[tuple[VersionKey, Lease[Servable]]] = []
        self.failures: dict[VersionKey, int] = {}
        self.not_before: dict[VersionKey, float] = {}
        self.rules_broken: list[str] = []
        self.events: list[VersionStatus] = []
        self.executor = ManualExecutor()
        self.executor.on_submit = self._submitted
        self.manager: Manager[Servable] = Manager(
            self._load, lambda servable: None, loaders=loaders, clock=lambda: self.now, executor=self.executor
        )
        self.manager.subscribe(self._changed)

    def aspire(self, wish: frozenset[VersionKey], in_use: frozenset[VersionKey] = frozenset()) -> None:
        self.wish, self.in_use = wish, in_use
        for key in KEYS:
            if key not in wish and self.states.get(key) in (None, State.STORED):
                self._forget(key)
        self.manager.aspire(wish, in_use)

    def lease(self, key: VersionKey) -> None:
        if self.manager.is_available(key):
            self.leases.append((key, self.manager.lease(key)))

    def loading(self) -> int:
        return sum(isinstance(job.args[0], VersionKey) for job in self.executor.jobs)

    def status(self) -> dict[VersionKey, State]:
        return {key: state for key, state, _ in self.manager.status()}

    async def finish_all(self) -> None:
        while self.executor.jobs:
            self.executor.release()
            await turns()

    def _load(self, key: VersionKey) -> Servable:
        if key in self.broken:
            raise InvalidModelError(f"{key} is broken")
        return Servable(key)

    def _submitted(self, args: tuple[Any, ...]) -> None:
        (what,) = args
        if isinstance(what, VersionKey):
            if self.loading() >= self.loaders:
                self.rules_broken.append(f"{what}: more loads at once than loaders")
            if self.now < self.not_before.get(what, 0.0):
                self.rules_broken.append(f"{what}: tried again too soon")
        elif any(key == what.key for key, _ in self.leases):
            self.rules_broken.append(f"{what.key}: unloaded while leased")

    def _changed(self, status: VersionStatus, error: BaseException | None) -> None:
        key, state, _ = status
        self.events.append(status)
        self.states[key] = state
        if state is State.UNLOADING:
            wished = [other for other in self.wish if other.model == key.model]
            if wished and not any(self.states.get(other) is State.AVAILABLE for other in wished):
                self.rules_broken.append(f"{key}: unloaded while no wished version is available")
            if key in self.wish or key in self.in_use:
                self.rules_broken.append(f"{key}: unloaded while wished for or in use")
        if state is State.FAILED:
            self.failures[key] = self.failures.get(key, 0) + 1
            self.not_before[key] = self.now + retry_delay(self.failures[key])
        if state in (State.AVAILABLE, State.STORED):
            self._forget(key)

    def _forget(self, key: VersionKey) -> None:
        self.failures.pop(key, None)
        self.not_before.pop(key, None)


steps = st.one_of(
    st.tuples(st.just("wish"), st.frozensets(st.sampled_from(KEYS), max_size=2), st.just(frozenset[VersionKey]())),
    st.tuples(st.just("wish"), st.frozensets(st.sampled_from(KEYS)), st.frozensets(st.sampled_from(KEYS))),
    st.just(("finish", 0)),
    st.tuples(st.just("finish"), st.integers(0, 2)),
    st.tuples(st.just("break"), st.sampled_from(KEYS)),
    st.tuples(st.just("mend"), st.sampled_from(KEYS)),
    st.tuples(st.just("lease"), st.sampled_from(KEYS)),
    st.tuples(st.just("release"), st.integers(0, 3)),
    st.tuples(st.just("tick"), st.sampled_from([0.5, 1.0, 4.0, 400.0])),
)


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 2), st.frozensets(st.sampled_from(KEYS)), st.lists(steps, min_size=8, max_size=40))
def test_whatever_happens_availability_leases_and_backoff_are_kept_and_the_wish_is_reached(
    loaders: int, broken: frozenset[VersionKey], script: list[tuple[Any, ...]]
) -> None:
    asyncio.run(_follow(loaders, broken, script))


async def _follow(loaders: int, broken: frozenset[VersionKey], script: list[tuple[Any, ...]]) -> None:
    world = World(loaders)
    world.broken.update(broken)
    for step in script:
        match step:
            case ("wish", wish, in_use):
                world.aspire(wish, in_use)
            case ("finish", index) if index < len(world.executor.jobs):
                world.executor.release(index)
            case ("break", key):
                world.broken.add(key)
            case ("mend", key):
                world.broken.discard(key)
            case ("lease", key):
                world.lease(key)
            case ("release", index) if index < len(world.leases):
                _, lease = world.leases.pop(index)
                lease.release()
            case ("tick", seconds):
                world.now += seconds
                world.aspire(world.wish, world.in_use)
        await turns()
        assert world.rules_broken == []
        assert world.loading() <= loaders
        assert all(world.manager.is_available(key) for key, _ in world.leases if world.status()[key] != State.UNLOADING)
    for _, lease in world.leases:
        lease.release()
    world.leases.clear()
    world.broken.clear()
    for _ in range(3):
        world.now += LONGEST_RETRY_S
        world.aspire(world.wish)
        await turns()
        await world.finish_all()
    assert world.rules_broken == []
    assert world.status() == dict.fromkeys(world.wish, State.AVAILABLE)
    assert world.manager.settled
    await _close(world)


async def _close(world: World) -> None:
    closing = asyncio.create_task(world.manager.close())
    await turns()
    await world.finish_all()
    await closing


@pytest.fixture
def world() -> World:
    return World()


async def test_a_version_is_unloaded_only_when_its_last_lease_has_ended(world: World) -> None:
    world.aspire(frozenset({ONE}))
    await turns()
    await world.finish_all()
    first, second = world.manager.lease(ONE), world.manager.lease(ONE)
    world.aspire(frozenset())
    first.release()
    first.release()  # a second time counts for nothing
    await turns()
    assert world.executor.jobs == []
    assert first.servable is second.servable
    second.release()
    await turns()
    assert len(world.executor.jobs) == 1


async def test_no_lease_on_what_is_not_available_and_the_error_says_why(world: World) -> None:
    world.broken.add(ONE)
    with pytest.raises(VersionUnavailableError, match="STORED"):
        world.manager.lease(ONE)
    world.aspire(frozenset({ONE}))
    with pytest.raises(VersionUnavailableError, match="LOADING"):
        world.manager.lease(ONE)
    await turns()
    await world.finish_all()
    with pytest.raises(VersionUnavailableError, match=r"FAILED \(price version 1 is broken\)"):
        world.manager.lease(ONE)


async def test_of_an_error_that_was_not_raised_on_purpose_only_the_type_is_told(world: World) -> None:
    def load(key: VersionKey) -> Servable:
        raise OSError("/secret/path")

    manager: Manager[Servable] = Manager(load, lambda servable: None, executor=world.executor)
    causes: list[BaseException | None] = []
    manager.subscribe(lambda status, error: causes.append(error))
    manager.aspire(frozenset({ONE}))
    await turns()
    world.executor.release()
    await turns()
    status = manager.status_of(ONE)
    assert status is not None
    assert status.detail == "could not be loaded (OSError)"
    assert isinstance(causes[-1], OSError)
    manager.aspire(frozenset())


async def test_a_version_wished_for_again_while_it_is_unloaded_comes_back(world: World) -> None:
    world.aspire(frozenset({ONE}))
    await turns()
    await world.finish_all()
    world.aspire(frozenset())
    await turns()
    world.aspire(frozenset({ONE}))
    assert not world.manager.is_available(ONE)
    await world.finish_all()
    assert world.manager.is_available(ONE)
    assert world.manager.available("price") == (1,)


async def test_a_version_no_longer_wished_for_when_its_load_ends_goes_again(world: World) -> None:
    world.aspire(frozenset({ONE}))
    await turns()
    world.aspire(frozenset())
    await world.finish_all()
    assert world.status() == {}
    assert world.manager.latest("price") == 0


async def test_a_failed_version_that_nobody_wishes_for_any_more_is_reported_as_gone(world: World) -> None:
    world.broken.add(ONE)
    world.aspire(frozenset({ONE}))
    await turns()
    await world.finish_all()
    world.aspire(frozenset())
    assert world.events[-1] == VersionStatus(ONE, State.STORED)
    assert world.status() == {}


async def test_a_failed_version_is_tried_again_on_its_own_and_at_once_when_asked(world: World) -> None:
    world.broken.add(ONE)
    world.aspire(frozenset({ONE}))
    await turns()
    await world.finish_all()
    assert world.status() == {ONE: State.FAILED}
    world.manager.retry("rank")
    assert world.loading() == 0
    world.not_before.clear()
    world.manager.retry("price")
    await turns()
    assert world.loading() == 1
    await world.finish_all()
    world.aspire(frozenset())


async def test_a_timer_tries_again_when_nothing_else_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    due: list[tuple[float, Callable[[], None]]] = []

    class Timer:
        def cancel(self) -> None:
            due.clear()

    def call_later(delay: float, callback: Callable[[], None]) -> Timer:
        due.append((delay, callback))
        return Timer()

    world = World()
    world.broken.add(ONE)
    world.aspire(frozenset({ONE}))
    await turns()
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", call_later)
    await world.finish_all()
    ((delay, callback),) = due
    assert delay == FIRST_RETRY_S
    world.now += delay
    world.broken.clear()
    callback()
    await turns()
    await world.finish_all()
    assert world.manager.is_available(ONE)
    assert due == []


async def test_what_fails_again_and_again_does_not_keep_the_loaders_from_what_was_never_tried(world: World) -> None:
    """Names do not help: those of the broken ones come first."""
    broken = {VersionKey(model, 2) for model in ("a", "b")}
    good = {VersionKey("a", 1), VersionKey("z", 1)}
    world.broken = broken
    world.aspire(frozenset(broken))
    await turns()
    await world.finish_all()
    assert set(world.status().values()) == {State.FAILED}
    world.now += LONGEST_RETRY_S
    world.aspire(frozenset(broken | good))  # one loader, and all four are due
    await turns()
    tried = []
    while len(tried) < len(broken | good):
        (job,) = world.executor.jobs
        tried.append(job.args[0])
        world.executor.release()
        await turns()
        world.now += LONGEST_RETRY_S  # as if each took so long that the next try is due
        world.aspire(frozenset(broken | good))
        await turns()
    assert set(tried[:2]) == good
    assert {key for key, state in world.status().items() if state is State.AVAILABLE} == good
    assert set(tried[2:]) == broken
    world.aspire(frozenset())


async def test_all_were_tried_also_while_one_that_failed_is_tried_again(world: World) -> None:
    """Of many that fail there is always one that is."""
    world.broken = {ONE}
    world.aspire(frozenset({ONE, KEYS[0]}))
    await turns()
    assert not world.manager.tried
    await world.finish_all()
    world.now += LONGEST_RETRY_S
    world.manager.retry(ONE.model)
    await turns()
    assert world.status() == {ONE: State.LOADING, KEYS[0]: State.AVAILABLE}
    assert world.manager.tried
    assert not world.manager.settled
    assert list(world.manager.failed()) == [VersionStatus(ONE, State.FAILED, f"{ONE} is broken")]
    world.broken = set()
    await world.finish_all()
    assert list(world.manager.failed()) == []
    world.aspire(frozenset())


def test_the_wait_doubles_up_to_five_minutes() -> None:
    assert [retry_delay(attempts) for attempts in (1, 2, 3, 4)] == [1.0, 2.0, 4.0, 8.0]
    assert retry_delay(10_000) == LONGEST_RETRY_S


async def test_a_listener_that_fails_stops_nothing(world: World) -> None:
    problems: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context["message"]))

    def broken(status: VersionStatus, error: BaseException | None) -> None:
        raise BrokenPipeError

    world.manager.subscribe(broken)
    world.aspire(frozenset({ONE, TWO}))
    await turns()
    await world.finish_all()
    assert world.manager.available("price") == (1, 2)
    assert problems


async def test_an_unload_that_fails_is_told_and_the_version_is_gone() -> None:
    problems: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context["message"]))

    def unload(servable: Servable) -> None:
        raise OSError

    manager: Manager[Servable] = Manager(Servable, unload, executor=ManualExecutor(lambda args: False))
    manager.aspire(frozenset({ONE}))
    await turns()
    manager.aspire(frozenset())
    await turns()
    assert list(manager.status()) == []
    assert problems == ["unloading price version 1 failed"]


async def test_who_waits_hears_that_everything_is_settled(world: World) -> None:
    async def settled() -> None:
        while not world.manager.settled:
            await world.manager.wait_changed()

    world.aspire(frozenset({ONE, TWO}))
    waiting = asyncio.create_task(settled())
    await turns()
    await world.finish_all()
    assert waiting.done()


async def test_who_waits_for_a_version_that_is_no_longer_wished_for_is_woken(world: World) -> None:
    world.aspire(frozenset({ONE, TWO}))
    await turns()
    waiting = asyncio.create_task(world.manager.wait_changed())
    await turns()
    world.aspire(frozenset({TWO}))  # ONE was still waiting for the loader
    await turns()
    assert waiting.done()
    await world.finish_all()


async def test_closing_waits_for_loads_unloads_everything_and_leaves_what_is_leased(world: World) -> None:
    world.aspire(frozenset({ONE}))
    await turns()
    await world.finish_all()
    lease = world.manager.lease(ONE)
    world.aspire(frozenset({ONE, TWO}))
    await turns()
    await _close(world)
    assert world.status() == {ONE: State.UNLOADING}
    assert world.executor.shut
    problems: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context["message"]))
    lease.release()  # a worker that ends after all is closed
    await turns()
    assert world.status() == {}


async def test_what_a_change_costs_does_not_grow_with_the_number_of_models(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy is asked about the model that has changed, and the one that waits for the loader, and no other."""
    asked: list[set[str]] = []

    def counting(snapshots: Mapping[VersionKey, Snapshot], free_loaders: int) -> Action | None:
        asked.append({key.model for key in snapshots})
        return next_action(snapshots, free_loaders)

    monkeypatch.setattr(manager_module, "next_action", counting)
    world.aspire(frozenset(VersionKey(f"m{number}", 1) for number in range(100)))
    await turns()
    asked.clear()
    world.executor.release()
    await turns()
    assert {model for one in asked for model in one} == {"m0", "m1"}
    await world.finish_all()
    assert set(world.status().values()) == {State.AVAILABLE}


async def test_what_the_end_makes_fail_is_not_reported(world: World) -> None:
    world.broken.add(ONE)
    world.aspire(frozenset({ONE}))
    closing = asyncio.create_task(world.manager.close())
    await turns()
    world.executor.release()
    await closing
    assert State.FAILED not in {status.state for status in world.events}


async def test_a_version_that_is_withdrawn_is_drained_unloaded_and_has_failed_until_it_is_tried_again() -> None:
    """Though it is wished for, and the only one of its model."""
    now = 0.0
    manager: Manager[str] = Manager(
        str, lambda servable: None, clock=lambda: now, executor=ManualExecutor(lambda _: False)
    )
    manager.aspire(frozenset([ONE]))
    await turns()
    lease = manager.lease(ONE)
    manager.withdraw(ONE, "it ran for too long")
    await turns()
    assert manager.available("price") == ()
    with pytest.raises(VersionUnavailableError, match=r"UNLOADING \(it ran for too long\)"):
        manager.lease(ONE)
    lease.release()
    await turns()
    (status,) = manager.status()
    assert (status.state, status.detail) == (State.FAILED, "it ran for too long")
    now = LONGEST_RETRY_S - 1
    manager.aspire(frozenset([ONE, TWO]))
    await turns()
    assert not manager.is_available(ONE)
    now = LONGEST_RETRY_S
    manager.aspire(frozenset([ONE]))
    await turns()
    assert manager.is_available(ONE)
    await manager.close()
