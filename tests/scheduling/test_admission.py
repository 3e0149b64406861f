"""How much may wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.scheduling.admission import LONGEST_RETRY_S, RETRIES_A_S, SHORTEST_RETRY_S, Admission, Bounds, Room
from turnout_server.vocabulary.errors import QueueFullError

PLENTY = Bounds(1 << 20, 1 << 30)


def admission(own: Bounds = PLENTY, total: Bounds = PLENTY, wait_s: float = 1.0, patient: int = 0) -> Admission:
    return Admission("price", 3, Room(own), Room(total), wait_s=wait_s, patient=patient)


@pytest.mark.parametrize(("own", "total"), [(Bounds(10, 100), PLENTY), (PLENTY, Bounds(10, 100))])
@pytest.mark.parametrize(("rows", "nbytes"), [(6, 10), (1, 51), (100, 1)])
def test_no_more_rows_and_no_more_bytes_than_there_is_room_for(
    own: Bounds, total: Bounds, rows: int, nbytes: int
) -> None:
    """The version's own bounds count, and those of all versions together."""
    full = admission(own, total)
    full.enter(5, 50)
    full.check(5, 50, 0.0)
    with pytest.raises(QueueFullError) as caught:
        full.check(rows, nbytes, 0.0)
    assert caught.value.details == {"model": "price", "version": "3"}


def test_what_waits_for_one_version_takes_room_from_the_others() -> None:
    total = Room(Bounds(10, 100))
    one, other = (Admission("price", version, Room(PLENTY), total) for version in (1, 2))
    one.enter(10, 10)
    with pytest.raises(QueueFullError):
        other.check(1, 1, 0.0)
    one.leave(10, 10)
    other.check(1, 1, 0.0)


def test_who_is_refused_takes_no_room() -> None:
    total = Room(Bounds(5, 100))
    one = Admission("price", 3, Room(Bounds(10, 100)), total)
    one.enter(3, 1)
    for rows in (3, 8):
        with pytest.raises(QueueFullError):
            one.admit(rows, 1, 0.0)
    assert (one.own.count, one.own.rows, total.count, total.rows) == (1, 3, 1, 3)
    one.admit(2, 1, 0.0)
    assert (one.own.rows, total.rows) == (5, 5)


class Contested(Room):
    """A room into which somebody else always comes between a look and a step."""

    def reserve(self, rows: int, nbytes: int) -> bool:
        self.take(1, 1)
        return super().reserve(rows, nbytes)


@pytest.mark.parametrize("contested", ["own", "total"])
def test_who_came_in_the_same_moment_counts(contested: str) -> None:
    """Other data planes' queues are in other threads."""
    own, total = (Contested(Bounds(3, 99)) if which == contested else Room(PLENTY) for which in ("own", "total"))
    queue = Admission("price", 3, own, total)
    queue.enter(1, 1)
    with pytest.raises(QueueFullError):
        queue.admit(2, 1, 0.0)
    assert {own.rows, total.rows} == {1, 2}, "the other's, and one that was there"


def test_a_request_larger_than_the_queue_may_wait_alone() -> None:
    admission(Bounds(10, 100), Bounds(10, 100)).check(1_000_000, 10**9, 0.0)


def test_what_leaves_makes_room() -> None:
    full = admission(Bounds(10, 100))
    full.enter(10, 50)
    full.leave(10, 50)
    assert full.own.rows == 0
    full.check(10, 100, 0.0)


def test_who_would_wait_too_long_is_refused_though_there_is_room() -> None:
    queue = admission(wait_s=0.2)
    queue.enter(1, 1)
    queue.check(1, 1, 0.2)
    with pytest.raises(QueueFullError):
        queue.check(1, 1, 0.21)


def test_a_few_may_wait_however_long_that_takes() -> None:
    queue = admission(wait_s=0.2, patient=2)
    for _ in range(2):
        queue.check(1, 1, 9.0)
        queue.enter(1, 1)
    with pytest.raises(QueueFullError):
        queue.check(1, 1, 9.0)


@pytest.mark.parametrize(("wait_s", "delay"), [(0.0, SHORTEST_RETRY_S), (0.875, 0.875), (90.0, LONGEST_RETRY_S)])
def test_where_there_is_no_room_the_retry_delay_is_the_wait_within_bounds(wait_s: float, delay: float) -> None:
    queue = admission(Bounds(1, 100))
    queue.enter(1, 1)
    with pytest.raises(QueueFullError) as caught:
        queue.check(1, 1, wait_s)
    assert caught.value.retry_after_s == pytest.approx(delay)


@given(st.floats(SHORTEST_RETRY_S, LONGEST_RETRY_S))
def test_a_retry_delay_is_the_wait_rounded_up_to_one_of_few_values(wait_s: float) -> None:
    """Refusals that are equal are encoded once."""
    queue = admission(Bounds(1, 100))
    queue.enter(1, 1)
    with pytest.raises(QueueFullError) as caught:
        queue.check(1, 1, wait_s)
    delay = caught.value.retry_after_s
    assert delay is not None
    assert wait_s <= delay < wait_s + 1 / RETRIES_A_S
    assert (delay * RETRIES_A_S).is_integer()


def test_who_would_wait_too_long_may_come_back_when_it_would_not() -> None:
    queue = admission(wait_s=0.25)
    queue.enter(1, 1)
    with pytest.raises(QueueFullError) as caught:
        queue.check(1, 1, 1.0)
    assert caught.value.retry_after_s == pytest.approx(0.75)
