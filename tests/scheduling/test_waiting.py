"""Who is next, and who can go along."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.scheduling.items import item
from turnout_server.scheduling.item import HIGHEST_PRIORITY, LOWEST_PRIORITY, PRIORITY_STEP_S, Item, level_of
from turnout_server.scheduling.waiting import _STALE_KEPT, Waiting


def drained(waiting: Waiting) -> list[Item]:
    """Take everybody out, in order."""
    order = []
    while (head := waiting.head()) is not None:
        waiting.remove(head)
        order.append(head)
    return order


def test_first_come_first_served() -> None:
    waiting, items = Waiting(), [item() for _ in range(5)]
    for one in items:
        waiting.add(one, 1.0)
    assert drained(waiting) == items


def test_a_higher_priority_goes_first() -> None:
    waiting, low, high = Waiting(), item(priority=3), item(priority=1)
    waiting.add(low, 0.0)
    waiting.add(high, 0.0)
    assert drained(waiting) == [high, low]


def test_nobody_waits_for_newcomers_for_ever() -> None:
    """Whoever has waited a step for each level between them is ahead of a newcomer of the highest priority."""
    waiting, lowest = Waiting(), item(priority=LOWEST_PRIORITY)
    waiting.add(lowest, 0.0)
    patience = (LOWEST_PRIORITY - HIGHEST_PRIORITY) * PRIORITY_STEP_S
    before, after = item(priority=HIGHEST_PRIORITY), item(priority=HIGHEST_PRIORITY)
    waiting.add(before, patience * 0.99)
    waiting.add(after, patience * 1.01)
    assert drained(waiting) == [before, lowest, after]


def test_only_what_would_go_first_counts_as_ahead() -> None:
    waiting = Waiting()
    for priority, rows in [(1, 1), (2, 10), (5, 100)]:
        waiting.add(item(rows, priority=priority), 0.0)
    assert [waiting.rows_ahead(level) for level in (1, 2, 4, 5, 10)] == [1, 11, 11, 111, 111]


def test_priorities_are_triton_s() -> None:
    """0 is for the default, and 1 the highest; what is beyond the lowest is the lowest."""
    assert [level_of(priority) for priority in (0, 1, 2, 10, 11, 2**63)] == [2, 1, 2, 10, 10, 10]


def test_what_has_left_is_not_kept() -> None:
    """A queue that is never empty may not hold on to the requests that were cancelled in it."""
    waiting, stays = Waiting(), item(key="k")
    waiting.add(stays, 0.0)
    for _ in range(10 * _STALE_KEPT):
        gone = item(key="k")
        waiting.add(gone, 1.0)
        waiting.remove(gone)
    assert len(waiting._heap) <= 2 + _STALE_KEPT
    assert len(waiting._groups["k"].heap) <= 2 + _STALE_KEPT
    waiting.remove(stays)
    assert waiting._groups == {}


steps = st.tuples(
    st.sampled_from(["add", "add", "add", "remove", "head", "mate"]),
    st.integers(0, 3),  # rows
    st.integers(HIGHEST_PRIORITY, LOWEST_PRIORITY),
    st.sampled_from([None, "a", "b"]),
    st.integers(0, 100),
)


@given(st.lists(steps, max_size=60))
def test_it_is_what_a_sorted_list_would_be(script: list[tuple[str, int, int, str | None, int]]) -> None:
    """The heads, the groups and the rows are those of the plainest possible queue."""
    waiting, model, now = Waiting(), list[tuple[float, Item]](), 0.0
    for action, rows, priority, key, number in script:
        if action == "add":
            one = item(rows, priority=priority, key=key)
            waiting.add(one, now)
            model.append((now + priority * PRIORITY_STEP_S, one))
            model.sort(key=lambda entry: entry[0])
            now += number / 1000
        elif action == "remove" and model:
            waiting.remove(model.pop(number % len(model))[1])
        elif action == "head":
            assert waiting.head() is (model[0][1] if model else None)
        elif action == "mate" and key is not None:
            mates = [one for _, one in model if one.key == key]
            assert waiting.first_of(key) is (mates[0] if mates else None)
            if mates:
                assert waiting.group_of(mates[0]) == (sum(m.room for m in mates), sum(m.size for m in mates))
        assert waiting.count == len(model)
        assert waiting.rows_ahead(priority) == sum(one.room for _, one in model if one.priority <= priority)
