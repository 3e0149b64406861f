"""Which request runs next, and with whom."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scheduling.items import item
from turnout_server.scheduling.admission import BURST, SHORTEST_RETRY_S, Admission, Bounds, Room
from turnout_server.scheduling.batcher import Batcher, Choice, Rules
from turnout_server.scheduling.cost import CostModel
from turnout_server.scheduling.item import DEFAULT_PRIORITY, LOWEST_PRIORITY, Batch, Item
from turnout_server.vocabulary.errors import (
    DeadlineExpiredError,
    DeadlineUnreachableError,
    QueueFullError,
    TurnoutError,
)

MS = 1_000_000
ROW_S = 0.001
"""What a row takes in these models, in seconds."""
PLENTY = Bounds(5000, 1 << 20)
THREADED = Rules(inline_below_ns=0.0)


def costs() -> CostModel:
    """Return costs of 1 ms a row."""
    return CostModel({rows: rows * MS for rows in (1, 2, 4, 8, 16, 32, 64)})


def beside(own: Room, rules: Rules) -> Batcher:
    """Return one of several queues of a version, whose room is *own*."""
    return Batcher(Admission("price", 3, own, Room(PLENTY)), costs(), rules)


def batcher(rules: Rules = THREADED, bounds: Bounds = PLENTY, wait_s: float = 1e9) -> Batcher:
    return Batcher(Admission("price", 3, Room(bounds), Room(bounds), wait_s=wait_s), costs(), rules)


def run_next(queue: Batcher, now: float = 0.0) -> Batch:
    batch = queue.next_batch(now, worker_free=True).batch
    assert batch is not None
    return batch


def busy(queue: Batcher) -> Batch:
    """Have *queue* run something that goes with nothing."""
    queue.offer(item(), 0.0)
    return run_next(queue)


# ---------------------------------------------------------------- batches


def test_a_lone_request_runs_at_once() -> None:
    queue, lone = batcher(), item(key="k")
    queue.offer(lone, 0.0)
    assert run_next(queue).items == [lone]


def test_what_waits_while_a_batch_runs_is_the_next_batch() -> None:
    queue = batcher()
    running = busy(queue)
    waiting = [item(rows, key="k") for rows in (1, 3, 2)]
    for one in waiting:
        queue.offer(one, 0.0)
    queue.finish(running, 0.1)
    batch = run_next(queue, 0.1)
    assert (batch.items, batch.rows) == (waiting, 6)
    assert not len(queue)


def test_only_equal_keys_run_together_and_nobody_is_overtaken_by_a_later_batch() -> None:
    queue = batcher()
    a1, b1, a2, b2 = (item(key=key) for key in "abab")
    for one in (a1, b1, a2, b2):
        queue.offer(one, 0.0)
    assert [run_next(queue).items for _ in range(2)] == [[a1, a2], [b1, b2]]


def test_without_a_key_each_runs_alone() -> None:
    queue, items = batcher(), [item() for _ in range(3)]
    for one in items:
        queue.offer(one, 0.0)
    assert [run_next(queue).items for _ in items] == [[one] for one in items]


def test_a_batch_has_no_more_rows_than_allowed_and_a_larger_request_runs_alone() -> None:
    queue = batcher(Rules(max_rows=4, inline_below_ns=0.0))
    items = [item(rows, key="k") for rows in (2, 2, 1, 9, 1)]
    for one in items:
        queue.offer(one, 0.0)
    assert [[one.rows for one in run_next(queue).items] for _ in range(4)] == [[2, 2], [1], [9], [1]]


def test_a_batch_has_the_rows_and_the_size_of_all_its_requests() -> None:
    batch = Batch([item(2, size=4), item(3, size=6)])
    assert (batch.rows, batch.size) == (5, 10)


def test_a_batch_runs_inline_if_all_of_it_is_quick_enough() -> None:
    queue = batcher(Rules(inline_below_ns=2.5 * MS))
    for _ in range(2):
        queue.offer(item(key="k"), 0.0)
    assert run_next(queue).inline
    for _ in range(4):
        queue.offer(item(key="k"), 0.0)
    assert not run_next(queue).inline
    queue.offer(item(inline=False), 0.0)
    assert not run_next(queue).inline


def test_what_is_too_long_for_the_loop_waits_for_a_worker() -> None:
    queue = batcher()
    queue.offer(item(), 0.0)
    assert queue.next_batch(0.0, worker_free=False) == Choice(None, [], blocked=True, cost_ns=MS)
    assert queue.next_batch(0.0, worker_free=True).batch is not None


# ---------------------------------------------------------------- at once


def test_a_quick_request_that_is_alone_needs_no_queue() -> None:
    queue, lone = batcher(Rules(inline_below_ns=2 * MS)), item(key="k")
    batch = queue.at_once(lone, 0.0)
    assert batch is not None
    assert batch.items == [lone]
    assert queue.at_once(item(), 0.0) is None, "one is running"
    queue.finish(batch, 0.0)
    assert queue.idle


@pytest.mark.parametrize("one", [item(rows=8), item(inline=False)])
def test_what_does_not_belong_on_the_loop_has_to_be_offered(one: Item) -> None:
    assert batcher(Rules(inline_below_ns=2 * MS)).at_once(one, 0.0) is None


# ---------------------------------------------------------------- the delay


def test_with_a_delay_a_request_is_kept_for_company_but_no_longer() -> None:
    queue = batcher(Rules(max_rows=3, max_delay_s=0.01, inline_below_ns=1e12))
    first, second = item(key="k", offered=1.0), item(key="k", offered=1.004)
    assert queue.at_once(first, 1.0) is None
    queue.offer(first, 1.0)
    decision = queue.next_batch(1.0, worker_free=True)
    assert decision.batch is None
    assert decision.wake_at == pytest.approx(1.01)
    queue.offer(second, 1.004)
    assert queue.next_batch(1.0099, worker_free=True).batch is None
    assert run_next(queue, 1.0101).items == [first, second]


def test_a_full_batch_waits_for_no_more() -> None:
    queue = batcher(Rules(max_rows=2, max_delay_s=0.01))
    for _ in range(2):
        queue.offer(item(key="k"), 0.0)
    assert run_next(queue).rows == 2


def test_who_can_have_no_company_is_not_kept() -> None:
    queue = batcher(Rules(max_delay_s=0.01))
    lone = item()
    queue.offer(lone, 0.0)
    assert run_next(queue).items == [lone]


# ---------------------------------------------------------------- deadlines


def test_a_deadline_that_has_passed_is_not_taken_in() -> None:
    queue = batcher()
    with pytest.raises(DeadlineExpiredError):
        queue.offer(item(deadline=5.0), 5.0)
    assert queue.idle


def test_what_expires_while_it_waits_does_not_run() -> None:
    queue = batcher()
    late, patient = item(deadline=1.0, key="k"), item(deadline=9.0, key="k")
    for one in (patient, late):
        queue.offer(one, 0.0)
    decision = queue.next_batch(2.0, worker_free=True)
    assert decision.batch is not None
    assert decision.batch.items == [patient]
    assert [(one, type(error)) for one, error in decision.dropped] == [(late, DeadlineExpiredError)]


def test_what_cannot_be_done_in_time_however_fast_does_not_run() -> None:
    """A run has never been quicker than its best time so far."""
    queue = batcher()
    hopeless = item(rows=8, deadline=1.0, key="k")
    queue.offer(hopeless, 0.0)
    decision = queue.next_batch(1.0 - 4 * ROW_S, worker_free=True)
    assert (decision.batch, [one for one, _ in decision.dropped]) == (None, [hopeless])


def test_what_cannot_make_it_by_the_estimate_is_refused_at_once() -> None:
    queue = batcher()
    busy(queue)
    for _ in range(32):
        queue.offer(item(key="k"), 0.0)
    with pytest.raises(DeadlineUnreachableError):
        queue.offer(item(key="k", deadline=20 * ROW_S), 0.0)
    queue.offer(item(key="k", deadline=60 * ROW_S), 0.0)


def test_an_estimate_that_is_out_of_date_does_not_refuse_for_ever() -> None:
    """With nobody ahead the best time counts: a slow spell may be over, and only a run can show it."""
    slow = costs()
    for _ in range(100):
        slow.observe(1, 500 * MS)
    bounds = Bounds(10, 1000)
    queue = Batcher(Admission("price", 3, Room(bounds), Room(bounds)), slow, THREADED)
    urgent = item(deadline=0.1)
    queue.offer(urgent, 0.0)
    assert run_next(queue).items == [urgent]


def lone_runs(queue: Batcher, times: CostModel, patience_s: float, takes_ns: int) -> list[bool]:
    """Say of each of many requests for three rows, of which none meets another, whether it ran."""
    ran = []
    for now in range(200):
        try:
            queue.offer(item(3, deadline=now + patience_s), now)
        except DeadlineUnreachableError:
            ran.append(False)
            continue
        batch = run_next(queue, now)
        times.observe(batch.size, takes_ns)
        queue.finish(batch, now)
        ran.append(True)
    return ran


def test_one_slow_run_does_not_refuse_a_size_for_ever() -> None:
    """The first run of three rows took 120 ms, all others would take 2: callers with 100 ms are not lost."""
    times = CostModel({1: MS, 64: 4 * MS})
    times.observe(3, 120 * MS)
    queue = Batcher(Admission("price", 3, Room(PLENTY), Room(PLENTY)), times, THREADED)
    ran = lone_runs(queue, times, 0.1, 2 * MS)
    assert all(ran[10:])


def test_what_is_hopeless_indeed_runs_in_vain_but_seldom() -> None:
    times = CostModel({1: MS, 3: 120 * MS})
    queue = Batcher(Admission("price", 3, Room(PLENTY), Room(PLENTY)), times, THREADED)
    ran = lone_runs(queue, times, 0.01, 120 * MS)
    assert 0 < sum(ran) < 10


def test_a_higher_priority_waits_for_fewer_and_so_reaches_more() -> None:
    queue = batcher()
    busy(queue)
    for _ in range(32):
        queue.offer(item(key="k", priority=LOWEST_PRIORITY), 0.0)
    with pytest.raises(DeadlineUnreachableError):
        queue.offer(item(key="k", deadline=20 * ROW_S, priority=LOWEST_PRIORITY), 0.0)
    queue.offer(item(key="k", deadline=20 * ROW_S, priority=1), 0.0)


# ---------------------------------------------------------------- room


def test_what_can_run_at_once_is_never_refused_and_what_has_to_wait_may_be() -> None:
    queue = batcher(bounds=Bounds(10, 1 << 20))
    queue.offer(item(rows=1000), 0.0)
    run_next(queue)
    queue.offer(item(rows=10), 0.0)
    with pytest.raises(QueueFullError):
        queue.offer(item(rows=1), 0.0)
    with pytest.raises(QueueFullError):
        queue.check_wait(2, 0.0)


def test_requests_without_rows_fill_the_queue_too() -> None:
    queue = batcher(bounds=Bounds(2, 1 << 20))
    busy(queue)
    for _ in range(2):
        queue.offer(item(rows=0), 0.0)
    with pytest.raises(QueueFullError):
        queue.offer(item(rows=0), 0.0)


def slow(queue: Batcher) -> float:
    """Have *queue*, where a row is said to take 1 ms, run rows that take 10, and return when; one batch runs on."""
    now = 0.0
    queue.offer(item(2), now)
    running = run_next(queue, now)
    for _ in range(5):
        for _ in range(2):
            queue.offer(item(key="k", offered=now), now)
        now += 0.02
        queue.finish(running, now)
        running = run_next(queue, now)
    return now


def test_the_wait_is_bounded_by_the_pace_of_the_batches_so_far() -> None:
    """Rows of 10 ms that have waited for two seconds; as many as come at once may, since their runs are short."""
    queue = batcher(wait_s=2.0)
    now = slow(queue)
    for number in range(BURST):
        at = now if number == 0 else now + 2.1
        queue.offer(item(key="k", offered=at), at)
    with pytest.raises(QueueFullError) as caught:
        queue.offer(item(key="k", offered=now + 2.1), now + 2.1)
    assert caught.value.retry_after_s >= SHORTEST_RETRY_S


def test_a_pace_is_believed_as_far_as_somebody_has_waited() -> None:
    """A burst that would run within 100 ms is taken in whole, whatever its first small batches took."""
    queue = batcher(wait_s=0.105)
    now = slow(queue)
    for _ in range(100):
        queue.offer(item(key="k", offered=now), now)
    assert queue.wait_s(LOWEST_PRIORITY, now) == pytest.approx(100 * ROW_S)
    assert queue.wait_s(LOWEST_PRIORITY, now + 0.5) == pytest.approx(0.5)
    assert queue.wait_s(LOWEST_PRIORITY, now + 9.0) == pytest.approx(100 * 10 * ROW_S)


def test_what_a_burst_would_run_for_bounds_it_from_the_beginning() -> None:
    queue = batcher(wait_s=0.105)
    running = busy(queue)
    for _ in range(106):
        queue.offer(item(key="k"), 0.0)
    with pytest.raises(QueueFullError):
        queue.offer(item(key="k"), 0.0)
    queue.finish(running, ROW_S)


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_the_idle_time_after_a_queue_that_nobody_ran_is_nobodys_pace(end: str) -> None:
    """A row takes 1 ms. An hour in which nothing waited must not make the next request believe in an hour's wait."""
    queue = batcher()
    running = busy(queue)
    waiting = item(deadline=1.0)
    queue.offer(waiting, 0.0)
    queue.finish(running, ROW_S)
    if end == "cancelled":
        assert queue.cancel(waiting)
    else:
        assert queue.next_batch(2.0, worker_free=True).dropped
    assert queue.idle
    queue.offer(item(), 3600.0)
    queue.finish(run_next(queue, 3600.0), 3600.0 + ROW_S)
    busy(queue)
    queue.offer(item(), 3601.0)
    assert queue.wait_s(LOWEST_PRIORITY, 3601.0) == pytest.approx(ROW_S)


def test_only_what_still_waits_can_be_cancelled() -> None:
    queue, waiting = batcher(), item()
    (running,) = busy(queue).items
    queue.offer(waiting, 0.0)
    assert not queue.cancel(running)
    assert queue.cancel(waiting)
    assert not queue.cancel(waiting)
    assert (len(queue), queue.room.rows) == (0, 0)


# ---------------------------------------------------------------- whatever happens

steps = st.tuples(
    st.sampled_from(["offer", "offer", "offer", "next", "finish", "cancel", "tick"]),
    st.integers(0, 5),
    st.sampled_from([None, "a", "b"]),
    st.integers(1, LOWEST_PRIORITY),
    st.booleans(),
)


@given(
    st.lists(steps, max_size=80),
    st.builds(
        Rules,
        max_rows=st.integers(1, 6),
        max_delay_s=st.sampled_from([0.0, 0.5]),
        inline_below_ns=st.sampled_from([0.0, 3.0 * MS]),
        parallel=st.integers(1, 2),
    ),
)
def test_every_request_taken_in_ends_exactly_once_in_a_batch_that_suits_it(
    script: list[tuple[str, int, str | None, int, bool]], rules: Rules
) -> None:
    bounds = Bounds(12, 1 << 20)
    total = Room(bounds)
    queue, now = Batcher(Admission("price", 3, Room(bounds), total, wait_s=0.5, patient=4), costs(), rules), 0.0
    offered: list[Item] = []
    ended: Counter[int] = Counter()
    running: list[Batch] = []

    def start(worker_free: bool) -> Any:
        decision = queue.next_batch(now, worker_free)
        ended.update(id(one) for one, _ in decision.dropped)
        batch = decision.batch
        if batch is not None:
            assert len(batch.items) == 1 or (
                batch.rows <= rules.max_rows and {one.key for one in batch.items} != {None}
            )
            assert len({one.key for one in batch.items}) == 1
            assert worker_free or batch.inline
            assert all(one.deadline is None or one.deadline > now for one in batch.items)
            running.append(batch)
        return batch or decision.dropped

    def finish() -> None:
        batch = running.pop(0)
        queue.finish(batch, now)
        ended.update(map(id, batch.items))

    for step, number, key, priority, flag in script:
        if step == "offer":
            one = item(number, now + number if flag else None, key=key, priority=priority, offered=now)
            try:
                batch = queue.at_once(one, now)
                if batch is not None:
                    running.append(batch)
                else:
                    queue.offer(one, now)
            except TurnoutError:
                continue
            offered.append(one)
        elif step == "next":
            start(flag)
        elif step == "finish" and running:
            finish()
        elif step == "cancel" and offered and queue.cancel(offered[number % len(offered)]):
            ended[id(offered[number % len(offered)])] += 1
        elif step == "tick":
            now += number / 4
    now += 1.0  # past any delay
    while not queue.idle:
        while start(True):
            pass
        while running:
            finish()
    assert ended == Counter(map(id, offered))
    assert (queue.room.rows, total.rows, total.nbytes, total.count) == (0, 0, 0, 0)


@given(st.integers(1, 6), st.integers(2, LOWEST_PRIORITY))
def test_the_lowest_priority_gets_its_turn_in_a_flood_of_the_highest(per_run: int, priority: int) -> None:
    """However many newcomers of the highest priority there are in each run, a low one runs within half a second."""
    queue, low, now = batcher(bounds=Bounds(1 << 20, 1 << 30)), item(priority=priority), 0.0
    running = busy(queue)
    queue.offer(low, now)
    while low not in running.items:
        for _ in range(per_run):
            queue.offer(item(priority=1), now)
        now += 0.01
        queue.finish(running, now)
        running = run_next(queue, now)
        assert now < 10.0
    # A step a level, and what had come before that was up.
    ahead = 1 + per_run * ((priority - 1) * 5 + 1)
    assert now <= ahead * 0.01 + 0.011


# ---------------------------------------------------------------- several queues of one version


def test_what_waits_in_one_queue_takes_room_from_the_others_of_its_version() -> None:
    """Each data plane has its own queues, and a version's bounds are those of the process."""
    own = Room(Bounds(3, 1000))
    one, other = beside(own, THREADED), beside(own, THREADED)
    one.offer(item(key="k"), 0.0)
    one.offer(item(key="k", rows=2), 0.0)
    with pytest.raises(QueueFullError):
        other.check_wait(DEFAULT_PRIORITY, 0.0)
    with pytest.raises(QueueFullError):
        other.offer(item(), 0.0)
    assert run_next(one).rows == 3
    other.offer(item(rows=9), 0.0)
    assert own.rows == 9, "where nothing waits, anything may"


def test_who_runs_at_once_needs_no_room() -> None:
    own = Room(Bounds(1, 1000))
    beside(own, THREADED).offer(item(), 0.0)
    assert beside(own, Rules(inline_below_ns=1e9)).at_once(item(), 0.0) is not None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["offer", "next", "finish", "cancel"]),
            st.integers(0, 2),
            st.integers(1, 6),
            st.sampled_from([None, "k"]),
        )
    )
)
def test_however_many_queues_there_are_no_more_waits_for_a_version_than_it_has_room_for(
    script: list[tuple[str, int, int, str | None]],
) -> None:
    """Or one request, however large it is."""
    own = Room(Bounds(8, 1000))
    queues = [beside(own, THREADED) for _ in range(3)]
    running: list[list[Batch]] = [[] for _ in queues]
    offered: list[tuple[Batcher, Item]] = []
    for step, place, number, key in script:
        queue = queues[place]
        if step == "offer":
            one = item(number * 2, key=key)
            try:
                queue.offer(one, 0.0)
            except QueueFullError:
                assert own.rows + one.rows > 8
                continue
            offered.append((queue, one))
        elif step == "next":
            batch = queue.next_batch(0.0, worker_free=True).batch
            running[place] += [] if batch is None else [batch]
        elif step == "finish" and running[place]:
            queue.finish(running[place].pop(), 1.0)
        elif step == "cancel" and offered:
            his, one = offered[number % len(offered)]
            his.cancel(one)
        assert own.count <= 1 or own.rows <= 8
    assert own.rows == sum(one.rows for _, one in offered if one.waiting)
