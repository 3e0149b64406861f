"""Which version gets a worker thread."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from turnout_server.scheduling.shares import _TAGS_KEPT, Shares


def test_one_version_alone_may_use_every_core_and_no_thread_beyond() -> None:
    shares = Shares(cores=2, limit=2, threads=4)
    for _ in range(2):
        assert shares.may_start("a")
        shares.start("a", 1.0)
    assert not shares.may_start("a")
    assert shares.idle == 0


def test_a_run_may_stand_ready_for_the_core_that_comes_free_next() -> None:
    shares = Shares(cores=2, limit=3, threads=4)
    for idle in (2, 1, 0):
        assert shares.may_start("a")
        assert shares.idle == idle
        shares.start("a", 1.0)
    assert not shares.may_start("a")
    assert shares.idle == 0


def test_a_version_with_no_run_does_not_wait_for_another_s() -> None:
    shares = Shares(cores=2, limit=2, threads=4)
    for _ in range(2):
        shares.start("long", 1e9)
    assert shares.may_start("quick")


def test_there_is_an_end_to_the_threads() -> None:
    shares = Shares(cores=1, limit=1, threads=2)
    shares.start("a", 1.0)
    shares.start("b", 1.0)
    assert not shares.may_start("c")
    shares.want("c")
    assert shares.next() is None
    shares.finish("a")
    assert shares.next() == "c"


def test_nobody_is_overtaken_by_the_second_run_of_a_version() -> None:
    """A core comes free: who has waited for it is asked first."""
    shares = Shares(cores=2, limit=2, threads=2)
    shares.start("a", 1.0)
    shares.start("a", 1.0)
    shares.want("b")
    shares.finish("a")
    assert not shares.may_start("a")
    assert shares.next() == "b"


def test_who_has_just_had_a_thread_does_not_get_it_again_before_those_who_wait_for_one() -> None:
    shares = Shares(cores=1, limit=1, threads=1)
    shares.start("a", 1.0)
    shares.want("b")
    shares.finish("a")
    assert not shares.may_start("a")
    shares.want("a")
    assert shares.next() == "b"


def test_what_has_no_work_any_more_is_not_asked() -> None:
    shares = Shares(cores=1, limit=1, threads=1)
    shares.start("a", 1.0)
    shares.want("b")
    shares.want("c")
    shares.forgo("b")
    shares.finish("a")
    assert shares.next() == "c"
    assert shares.next() is None


def test_those_who_have_gone_are_not_remembered() -> None:
    """Versions come and go while another is never idle."""
    shares = Shares(cores=1000, limit=1000, threads=1000)
    shares.start("stays", 1.0)
    for number in range(1000):
        shares.start(number, 1.0)
        shares.start("stays", 1.0)
        shares.finish(number)
        shares.finish("stays")
    assert len(shares._tags) <= 2 * 2 + _TAGS_KEPT + 1


@given(st.lists(st.integers(1, 50), min_size=2, max_size=5))
def test_versions_that_always_have_work_get_equal_time_however_long_their_runs_are(costs: list[int]) -> None:
    """With one thread, no two are ever further apart than a run of each: start-time fair queueing's bound."""
    shares = Shares(cores=1, limit=1, threads=1)
    had = [0] * len(costs)
    for version in range(len(costs)):
        shares.want(version)
    for _ in range(200):
        chosen = shares.next()
        assert isinstance(chosen, int)
        version = chosen
        shares.start(version, costs[version])
        had[version] += costs[version]
        shares.want(version)
        shares.finish(version)
        for (one, its_cost), (other, other_cost) in combinations(zip(had, costs, strict=True), 2):
            assert abs(one - other) <= its_cost + other_cost
