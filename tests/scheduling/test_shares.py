"""Which version gets a worker thread."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from turnout_server.scheduling.shares import _TAGS_KEPT, Shares


def started(shares: Shares, *versions: Hashable) -> None:
    """Start a run of each, which may."""
    for version in versions:
        assert shares.start_or_want(version, 1.0)


def test_one_version_alone_may_use_every_core_and_no_thread_beyond() -> None:
    shares = Shares(cores=2, limit=2, threads=4)
    started(shares, "a", "a")
    assert not shares.start_or_want("a", 1.0)
    assert shares.idle == 0


def test_a_run_may_stand_ready_for_the_core_that_comes_free_next() -> None:
    shares = Shares(cores=2, limit=3, threads=4)
    for idle in (2, 1, 0):
        assert shares.idle == idle
        started(shares, "a")
    assert not shares.start_or_want("a", 1.0)
    assert shares.idle == 0


def test_a_version_with_no_run_does_not_wait_for_another_s() -> None:
    shares = Shares(cores=2, limit=2, threads=4)
    for _ in range(2):
        assert shares.start_or_want("long", 1e9)
    assert not shares.start_or_want("long", 1e9)
    started(shares, "quick")


def test_there_is_an_end_to_the_threads() -> None:
    shares = Shares(cores=1, limit=1, threads=2)
    started(shares, "a", "b")
    assert not shares.start_or_want("c", 1.0)
    assert shares.start_next() is None
    shares.finish("a")
    assert shares.start_next() == "c"
    assert not shares.start_or_want("d", 1.0), "who is returned has started"


def test_nobody_is_overtaken_by_the_second_run_of_a_version() -> None:
    """A core comes free: who has waited for it is asked first."""
    shares = Shares(cores=2, limit=2, threads=2)
    started(shares, "a", "a")
    assert not shares.start_or_want("b", 1.0)
    shares.finish("a")
    assert not shares.start_or_want("a", 1.0)
    assert shares.start_next() == "b"


def test_who_has_just_had_a_thread_does_not_get_it_again_before_those_who_wait_for_one() -> None:
    shares = Shares(cores=1, limit=1, threads=1)
    started(shares, "a")
    assert not shares.start_or_want("b", 1.0)
    shares.finish("a")
    assert not shares.start_or_want("a", 1.0)
    assert shares.start_next() == "b"


def test_what_has_no_work_any_more_is_not_asked() -> None:
    shares = Shares(cores=1, limit=1, threads=1)
    started(shares, "a")
    for version in ("b", "c"):
        assert not shares.start_or_want(version, 1.0)
    shares.forgo("b")
    shares.finish("a")
    assert shares.start_next() == "c"
    assert shares.start_next() is None


def test_those_who_have_gone_are_not_remembered() -> None:
    """Versions come and go while another is never idle."""
    shares = Shares(cores=1000, limit=1000, threads=1000)
    started(shares, "stays")
    for number in range(1000):
        started(shares, number, "stays")
        shares.finish(number)
        shares.finish("stays")
    assert len(shares._tags) <= 2 * 2 + _TAGS_KEPT + 1


@given(st.lists(st.integers(1, 50), min_size=2, max_size=5))
def test_versions_that_always_have_work_get_equal_time_however_long_their_runs_are(costs: list[int]) -> None:
    """With one thread, no two are ever further apart than a run of each: start-time fair queueing's bound."""
    shares = Shares(cores=1, limit=1, threads=1)
    had = [0] * len(costs)
    assert shares.start_or_want("first", 1.0)
    for version in range(len(costs)):
        assert not shares.start_or_want(version, costs[version])
    shares.finish("first")
    for _ in range(200):
        version = shares.start_next()
        assert isinstance(version, int)
        had[version] += costs[version]
        assert not shares.start_or_want(version, costs[version])
        shares.finish(version)
        for (one, its_cost), (other, other_cost) in combinations(zip(had, costs, strict=True), 2):
            assert abs(one - other) <= its_cost + other_cost
