"""Deadlines, on a clock and a timer that are handed in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.transport.native.deadlines import Deadlines, Entry


class FakeTimer:
    def __init__(self, at: float, ring: Callable[[], None]) -> None:
        self.at, self.ring, self.cancelled = at, ring, False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """An event loop that has timers, and time only when told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[FakeTimer] = []

    def call_later(self, delay: float, ring: Callable[[], None]) -> FakeTimer:
        assert delay >= 0
        self.timers.append(FakeTimer(self.now + delay, ring))
        return self.timers[-1]

    @property
    def set(self) -> list[FakeTimer]:
        """The timers that would still ring."""
        return [timer for timer in self.timers if not timer.cancelled]

    def advance(self, to: float) -> None:
        while due := [timer for timer in self.set if timer.at <= to]:
            timer = min(due, key=lambda one: one.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.ring()
        self.now = to


class Call:
    def __init__(self, loop: FakeLoop) -> None:
        self._loop = loop
        self.expired_at: list[float] = []

    def expire(self) -> None:
        self.expired_at.append(self._loop.now)


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


def deadlines_on(loop: FakeLoop) -> Deadlines:
    return Deadlines(cast("asyncio.AbstractEventLoop", loop), lambda: loop.now)


def test_a_call_hears_once_when_its_deadline_passes_and_not_before(loop: FakeLoop) -> None:
    deadlines, call = deadlines_on(loop), Call(loop)
    deadlines.add(5.0, call)
    loop.advance(4.9)
    assert call.expired_at == []
    loop.advance(100.0)
    assert call.expired_at == [5.0]
    assert not len(deadlines)


def test_one_timer_does_for_all(loop: FakeLoop) -> None:
    deadlines = deadlines_on(loop)
    for at in (9.0, 5.0, 7.0, 3.0, 8.0):
        deadlines.add(at, Call(loop))
    assert [timer.at for timer in loop.set] == [3.0]
    loop.advance(4.0)
    assert [timer.at for timer in loop.set] == [5.0]


def test_a_deadline_that_has_passed_already_is_told_in_the_next_turn(loop: FakeLoop) -> None:
    loop.advance(10.0)
    deadlines, call = deadlines_on(loop), Call(loop)
    deadlines.add(5.0, call)
    assert call.expired_at == []
    loop.advance(10.0)
    assert call.expired_at == [10.0]


def test_a_timer_that_rings_too_early_is_set_again(loop: FakeLoop) -> None:
    deadlines, call = deadlines_on(loop), Call(loop)
    deadlines.add(5.0, call)
    (timer,) = loop.set
    loop.now = 4.999
    loop.timers.clear()
    timer.ring()
    assert call.expired_at == []
    loop.advance(5.0)
    assert call.expired_at == [5.0]


def test_removing_twice_or_after_the_end_does_nothing(loop: FakeLoop) -> None:
    deadlines, call = deadlines_on(loop), Call(loop)
    entry = deadlines.add(5.0, call)
    deadlines.remove(entry)
    deadlines.remove(entry)
    other = deadlines.add(6.0, Call(loop))
    loop.advance(10.0)
    deadlines.remove(other)
    assert call.expired_at == []


def test_a_call_that_expires_may_end_others(loop: FakeLoop) -> None:
    deadlines, second = deadlines_on(loop), Call(loop)
    entry = deadlines.add(6.0, second)

    class Ends(Call):
        def expire(self) -> None:
            super().expire()
            deadlines.remove(entry)
            deadlines.add(7.0, third)

    first, third = Ends(loop), Call(loop)
    deadlines.add(5.0, first)
    loop.advance(10.0)
    assert (first.expired_at, second.expired_at, third.expired_at) == ([5.0], [], [7.0])


def test_entries_that_are_over_do_not_pile_up(loop: FakeLoop) -> None:
    deadlines = deadlines_on(loop)
    kept = Call(loop)
    deadlines.add(50_000.0, kept)
    for number in range(10_000):
        deadlines.remove(deadlines.add(60.0 + number, Call(loop)))
        assert len(deadlines) < 1_000
    loop.advance(60_000.0)
    assert kept.expired_at == [50_000.0]


def test_after_the_end_nobody_is_told(loop: FakeLoop) -> None:
    deadlines, call = deadlines_on(loop), Call(loop)
    deadlines.add(5.0, call)
    deadlines.close()
    loop.advance(10.0)
    assert call.expired_at == []
    deadlines_on(loop).close()


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "advance"]), st.integers(0, 50)), max_size=200))
def test_everybody_who_was_not_removed_hears_in_time_and_nobody_else(steps: list[tuple[str, int]]) -> None:
    loop = FakeLoop()
    deadlines = deadlines_on(loop)
    waiting: dict[Entry, Call] = {}
    for step, number in steps:
        if step == "add":
            call = Call(loop)
            waiting[deadlines.add(loop.now + number, call)] = call
        elif step == "remove" and waiting:
            entry = list(waiting)[number % len(waiting)]
            deadlines.remove(entry)
            assert not waiting.pop(entry).expired_at
        elif step == "advance":
            loop.advance(loop.now + number)
            for entry, call in list(waiting.items()):
                assert call.expired_at == ([entry.at] if entry.at <= loop.now else [])
                if call.expired_at:
                    del waiting[entry]
