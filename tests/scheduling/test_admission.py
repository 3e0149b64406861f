"""How much may wait."""

from __future__ import annotations

import pytest

from turnout_server.errors import QueueFullError
from turnout_server.scheduling.admission import LONGEST_RETRY_S, SHORTEST_RETRY_S, Admission


def full(drain_s: float = 0.0) -> Admission:
    admission = Admission("price", 3, max_rows=10, max_bytes=100, drain_s=lambda rows: drain_s * rows)
    admission.enter(10, 50)
    return admission


@pytest.mark.parametrize(("rows", "nbytes"), [(6, 10), (1, 51), (100, 1)])
def test_no_more_rows_and_no_more_bytes_than_there_is_room_for(rows: int, nbytes: int) -> None:
    admission = Admission("price", 3, max_rows=10, max_bytes=100)
    admission.enter(5, 50)
    with pytest.raises(QueueFullError) as caught:
        admission.check(rows, nbytes)
    assert caught.value.details == {"model": "price", "version": "3"}


def test_what_exactly_fits_may_wait() -> None:
    admission = Admission("price", 3, max_rows=10, max_bytes=100)
    admission.enter(5, 50)
    admission.check(5, 50)


def test_a_request_larger_than_the_queue_may_wait_alone() -> None:
    admission = Admission("price", 3, max_rows=10, max_bytes=100)
    admission.check(1_000_000, 10**9)


def test_requests_without_rows_fill_the_queue_too() -> None:
    admission = Admission("price", 3, max_rows=2, max_bytes=100)
    admission.enter(0, 0)
    admission.enter(0, 0)
    with pytest.raises(QueueFullError):
        admission.check(0, 0)


def test_what_leaves_makes_room() -> None:
    admission = full()
    admission.leave(10, 50)
    assert admission.rows == 0
    admission.check(10, 100)


@pytest.mark.parametrize(("per_row", "delay"), [(0.0, SHORTEST_RETRY_S), (0.1, 1.0), (9.0, LONGEST_RETRY_S)])
def test_the_retry_delay_is_the_time_the_queue_takes_within_bounds(per_row: float, delay: float) -> None:
    with pytest.raises(QueueFullError) as caught:
        full(per_row).check(1, 1)
    assert caught.value.retry_after_s == pytest.approx(delay)
