"""What was left stays for a while, and yields to what is needed."""

from __future__ import annotations

import pytest

from turnout_server.serving.warm import Warm
from turnout_server.vocabulary.versions import VersionKey

ONE, TWO, THREE, FOUR = (VersionKey("price", number) for number in range(1, 5))


def follow(warm: Warm, now: float, *in_use: VersionKey) -> list[VersionKey]:
    warm.follow(frozenset(in_use), now)
    return list(warm.ends(now))


def test_what_is_left_stays_for_its_time() -> None:
    warm = Warm(300.0)
    assert follow(warm, 0.0, ONE) == []
    assert follow(warm, 10.0, TWO) == [ONE]
    assert warm.ends(10.0) == {ONE: 310.0}
    assert follow(warm, 309.9, TWO) == [ONE]
    assert follow(warm, 310.0, TWO) == []


def test_who_comes_back_and_leaves_again_begins_anew() -> None:
    warm = Warm(300.0)
    follow(warm, 0.0, ONE)
    follow(warm, 10.0, TWO)
    assert follow(warm, 20.0, ONE) == [TWO]
    follow(warm, 30.0, TWO)
    assert warm.ends(30.0) == {ONE: 330.0}


def test_looking_again_does_not_make_it_longer() -> None:
    warm = Warm(300.0)
    follow(warm, 0.0, ONE)
    for now in range(10, 300, 10):
        follow(warm, float(now), TWO)
    assert warm.ends(290.0) == {ONE: 310.0}


def test_of_too_many_the_last_ones_stay() -> None:
    warm = Warm(300.0, most=2)
    for now, key in enumerate((ONE, TWO, THREE, FOUR)):
        follow(warm, float(now), key)
    assert list(warm.ends(3.0)) == [TWO, THREE]


def test_without_a_time_nothing_is_warm() -> None:
    for warm in (Warm(0.0), Warm(300.0, most=0)):
        follow(warm, 0.0, ONE)
        assert follow(warm, 1.0, TWO) == []


@pytest.mark.parametrize(
    ("needed", "free", "gone"),
    [
        (100, 100, ()),
        (100, 99, (ONE,)),
        (100, 50, (ONE,)),
        (100, 49, (ONE, TWO)),
        (1000, 0, (ONE, TWO, THREE)),
    ],
)
def test_as_many_go_as_another_version_needs_the_oldest_first(
    needed: int, free: int, gone: tuple[VersionKey, ...]
) -> None:
    warm = Warm(300.0)
    for now, key in enumerate((ONE, TWO, THREE, FOUR)):
        follow(warm, float(now), key)
    assert warm.yield_to(needed, free, lambda key: 50) == gone
    assert list(warm.ends(3.0)) == [key for key in (ONE, TWO, THREE) if key not in gone]
    assert follow(warm, 4.0, FOUR) == [key for key in (ONE, TWO, THREE) if key not in gone]


def test_what_is_not_loaded_gives_nothing_back() -> None:
    warm = Warm(300.0)
    follow(warm, 0.0, ONE)
    follow(warm, 1.0, TWO)
    assert warm.yield_to(10, 0, lambda key: 0) == ()
