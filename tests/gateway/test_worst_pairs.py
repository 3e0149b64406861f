"""The worst of each minute are shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turnout_server.gateway import worst_pairs
from turnout_server.gateway.worst_pairs import MAX_SERIES, NS_PER_MINUTE, SHOWN, WorstPairs


@given(st.lists(st.integers(0, 30).map(float), max_size=60))
def test_a_pair_is_shown_if_it_is_among_the_worst_so_far(found: list[float]) -> None:
    worst = WorstPairs()
    for number, badness in enumerate(found):
        as_bad = sum(other >= badness for other in found[:number])
        assert worst.is_shown("a", NS_PER_MINUTE, badness) == (badness > 0 and as_bad < SHOWN)


def test_each_minute_and_series_begins_anew() -> None:
    worst = WorstPairs()
    assert sum(worst.is_shown("a", NS_PER_MINUTE, 1.0) for _ in range(SHOWN + 1)) == SHOWN
    assert worst.is_shown("b", NS_PER_MINUTE, 1.0)
    assert worst.is_shown("a", 2 * NS_PER_MINUTE, 1.0)


def test_what_comes_late_counts_in_the_latest_minute() -> None:
    worst = WorstPairs()
    for _ in range(SHOWN):
        worst.is_shown("a", 2 * NS_PER_MINUTE, 1.0)
    assert not worst.is_shown("a", NS_PER_MINUTE, 1.0)


def test_series_are_bounded() -> None:
    worst = WorstPairs()
    assert all(worst.is_shown(number, NS_PER_MINUTE, 1.0) for number in range(MAX_SERIES))
    assert not worst.is_shown(MAX_SERIES, NS_PER_MINUTE, 1.0)


def test_nan_is_not_shown() -> None:
    assert not WorstPairs().is_shown("a", worst_pairs.NS_PER_MINUTE, float("nan"))
