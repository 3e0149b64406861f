from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.load.histogram import HIGHEST_S, LOWEST_S, Histogram

DURATIONS = st.lists(st.floats(LOWEST_S, HIGHEST_S), min_size=1, max_size=200)
PERCENTS = st.floats(0.0, 100.0)


def of(durations: list[float]) -> Histogram:
    histogram = Histogram()
    for one in durations:
        histogram.record(one)
    return histogram


def nearest_rank(durations: list[float], percent: float) -> float:
    return sorted(durations)[max(1, math.ceil(len(durations) * percent / 100.0)) - 1]


@given(DURATIONS, PERCENTS)
def test_a_percentile_is_within_one_percent_of_the_true_one(durations: list[float], percent: float) -> None:
    assert of(durations).percentile(percent) == pytest.approx(nearest_rank(durations, percent), rel=0.01)


@given(DURATIONS, PERCENTS, PERCENTS)
def test_percentiles_grow_and_stay_between_the_extremes(durations: list[float], one: float, other: float) -> None:
    histogram = of(durations)
    low, high = histogram.percentile(min(one, other)), histogram.percentile(max(one, other))
    assert min(durations) <= low <= high <= max(durations)


@given(DURATIONS)
def test_count_extremes_and_mean_are_exact(durations: list[float]) -> None:
    histogram = of(durations)
    assert (histogram.count, histogram.min, histogram.max) == (len(durations), min(durations), max(durations))
    assert histogram.percentile(100.0) == max(durations)
    assert histogram.mean == pytest.approx(sum(durations) / len(durations))


@given(DURATIONS, st.integers(1, 40))
def test_buckets_hold_every_duration_once_without_gaps(durations: list[float], most: int) -> None:
    buckets = of(durations).buckets(most)
    assert 1 <= len(buckets) <= most
    assert sum(bucket.count for bucket in buckets) == len(durations)
    assert all(left.high == right.low for left, right in itertools.pairwise(buckets))
    assert buckets[0].low <= min(durations) * 1.0000001
    assert max(durations) <= buckets[-1].high * 1.0000001
    assert buckets[0].count > 0
    assert buckets[-1].count > 0


@given(DURATIONS, DURATIONS, PERCENTS)
def test_what_came_since_a_copy_is_only_that(before: list[float], after: list[float], percent: float) -> None:
    histogram = of(before)
    copy = histogram.copy()
    for one in after:
        histogram.record(one)
    since = histogram.since(copy)
    assert (copy.count, since.count) == (len(before), len(after))
    assert since.percentile(percent) == pytest.approx(nearest_rank(after, percent), rel=0.01)
    assert since.max == pytest.approx(max(after), rel=0.011)


@pytest.mark.parametrize("odd", [0.0, -1.0, 1e-300])
def test_what_is_too_short_to_tell_counts_as_the_shortest(odd: float) -> None:
    assert of([odd]).percentile(50.0) == LOWEST_S


def test_what_is_longer_than_the_longest_still_counts() -> None:
    histogram = of([HIGHEST_S * 10])
    assert (histogram.count, histogram.max, histogram.percentile(100.0)) == (1, HIGHEST_S * 10, HIGHEST_S * 10)


def test_nothing_recorded_is_no_number() -> None:
    histogram = Histogram()
    assert math.isnan(histogram.percentile(50.0))
    assert math.isnan(histogram.mean)
    assert (histogram.count, histogram.buckets()) == (0, [])


@pytest.mark.parametrize("percent", [-1.0, 100.1, math.nan])
def test_a_percentile_is_from_0_to_100(percent: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        of([1.0]).percentile(percent)
