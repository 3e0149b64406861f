"""Which request runs next."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.errors import DeadlineExpiredError, QueueFullError
from turnout_server.scheduling.admission import Admission
from turnout_server.scheduling.batcher import Batch, Batcher, Item


def item(rows: int = 1, deadline: float | None = None) -> Item:
    return Item({}, (), rows, rows * 8, deadline, lambda *args: None)


def batcher(parallel: int = 1, max_rows: int = 100) -> Batcher:
    return Batcher(Admission("price", 3, max_rows, 1 << 20), parallel)


def run_next(queue: Batcher, now: float = 0.0) -> Batch:
    batch, _ = queue.next_batch(now)
    assert batch is not None
    return batch


def test_first_come_first_served() -> None:
    queue, items = batcher(), [item() for _ in range(3)]
    for one in items:
        queue.offer(one, 0.0)
    served = []
    for _ in items:
        batch = run_next(queue)
        served += batch.items
        queue.finish(batch)
    assert served == items
    assert queue.idle


def test_no_more_run_at_once_than_are_allowed() -> None:
    queue = batcher(parallel=2)
    for _ in range(3):
        queue.offer(item(), 0.0)
    first, _ = run_next(queue), run_next(queue)
    assert queue.next_batch(0.0) == (None, [])
    queue.finish(first)
    run_next(queue)


def test_a_deadline_that_has_passed_is_not_taken_in() -> None:
    queue = batcher()
    with pytest.raises(DeadlineExpiredError):
        queue.offer(item(deadline=5.0), 5.0)
    assert queue.idle


def test_what_expires_while_it_waits_does_not_run() -> None:
    queue, late, patient = batcher(), item(deadline=1.0), item(deadline=9.0)
    queue.offer(late, 0.0)
    queue.offer(patient, 0.0)
    batch, expired = queue.next_batch(2.0)
    assert batch is not None
    assert batch.items == [patient]
    assert [(one, type(error)) for one, error in expired] == [(late, DeadlineExpiredError)]


def test_what_can_run_at_once_is_never_refused_and_what_has_to_wait_may_be() -> None:
    queue = batcher(max_rows=10)
    queue.offer(item(rows=1000), 0.0)
    run_next(queue)
    queue.offer(item(rows=10), 0.0)
    with pytest.raises(QueueFullError):
        queue.offer(item(rows=1), 0.0)


def test_only_what_still_waits_can_be_cancelled() -> None:
    queue, running, waiting = batcher(), item(), item()
    queue.offer(running, 0.0)
    run_next(queue)
    queue.offer(waiting, 0.0)
    assert not queue.cancel(running)
    assert queue.cancel(waiting)
    assert not queue.cancel(waiting)
    assert len(queue) == 0


def test_a_batch_has_the_rows_and_the_size_of_all_its_requests() -> None:
    small = Item({}, (), 2, 0, None, lambda *args: None, size=2)
    large = Item({}, (), 1, 0, None, lambda *args: None, size=500, inline=False)
    assert (Batch([small, large]).rows, Batch([small, large]).size) == (3, 502)
    assert Batch([small]).inline
    assert not Batch([small, large]).inline


@given(st.lists(st.tuples(st.sampled_from(["offer", "next", "finish", "cancel", "tick"]), st.integers(0, 5))))
def test_every_request_taken_in_ends_exactly_once_and_the_room_comes_back(script: list[tuple[str, int]]) -> None:
    admission = Admission("price", 3, 8, 1 << 20)
    queue, now = Batcher(admission, 2), 0.0
    offered: list[Item] = []
    ended: list[Item] = []
    running: list[Batch] = []

    def start(now: float) -> Any:
        batch, expired = queue.next_batch(now)
        ended.extend(one for one, _ in expired)
        if batch is not None:
            running.append(batch)
        return batch

    for step, number in script:
        if step == "offer":
            one = item(rows=number, deadline=now + number if number % 2 else None)
            try:
                queue.offer(one, now)
            except QueueFullError:
                continue
            offered.append(one)
        elif step == "next":
            start(now)
        elif step == "finish" and running:
            batch = running.pop(0)
            queue.finish(batch)
            ended.extend(batch.items)
        elif step == "cancel" and offered and queue.cancel(offered[number % len(offered)]):
            ended.append(offered[number % len(offered)])
        elif step == "tick":
            now += number
    while not queue.idle:
        while start(now):
            pass
        for batch in running:
            queue.finish(batch)
            ended.extend(batch.items)
        running.clear()
    assert sorted(map(id, ended)) == sorted(map(id, offered))
    assert (admission.rows, admission._bytes, admission._count) == (0, 0, 0)
