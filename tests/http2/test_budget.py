"""How often a peer may do what costs us."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turnout_server.http2.budget import Budget


def spent(budget: Budget, now: float, times: int) -> int:
    return sum(budget.spend(now) for _ in range(times))


def test_a_burst_is_free_and_then_the_rate_counts() -> None:
    budget = Budget(2.0, 10.0)
    assert spent(budget, 0.0, 20) == 10
    assert spent(budget, 1.0, 20) == 2
    assert spent(budget, 1.25, 20) == 0
    assert spent(budget, 1.5, 20) == 1


def test_no_more_is_saved_than_a_burst() -> None:
    budget = Budget(2.0, 10.0)
    assert spent(budget, 0.0, 3) == 3
    assert spent(budget, 1e9, 20) == 10


def test_what_was_earned_can_be_spent_but_not_beyond_a_burst() -> None:
    budget = Budget(0.0, 3.0)
    budget.earn()
    assert spent(budget, 0.0, 9) == 3
    budget.earn()
    assert spent(budget, 0.0, 9) == 1


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 30))))
def test_whenever_it_is_spent_it_is_no_more_than_the_rate_and_a_burst(times: list[tuple[float, int]]) -> None:
    budget, now, total = Budget(5.0, 20.0), 0.0, 0
    for later, wanted in times:
        now += later
        total += spent(budget, now, wanted)
        assert total <= 20.0 + 5.0 * now + 1e-6
