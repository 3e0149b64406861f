"""What a run is expected to take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.scheduling.cost import CostModel


def test_what_was_measured_is_what_is_expected() -> None:
    costs = CostModel({1: 10_000, 64: 100_000})
    assert (costs.estimate(1), costs.estimate(64), costs.estimate(100)) == (10_000, 100_000, 100_000)


def test_a_size_never_seen_counts_as_linear_in_the_nearest_one() -> None:
    costs = CostModel({1: 10_000})
    assert (costs.estimate(0), costs.estimate(8), costs.estimate(1024)) == (10_000, 80_000, 10_240_000)


def test_one_outlier_moves_the_estimate_by_a_tenth() -> None:
    costs = CostModel({1: 1000})
    costs.observe(1, 11_000)
    assert costs.estimate(1) == pytest.approx(2000)


@given(st.integers(0, 10**7), st.integers(1, 10**9))
def test_the_estimate_of_a_size_approaches_what_its_runs_take(size: int, ns: int) -> None:
    costs = CostModel({1: 1000, 64: 5000})
    for _ in range(300):
        costs.observe(size, ns)
    assert costs.estimate(size) == pytest.approx(ns, rel=1e-3)


@given(st.lists(st.integers(0, 2**40), max_size=200))
def test_sizes_that_callers_choose_do_not_fill_the_memory(sizes: list[int]) -> None:
    costs = CostModel({1: 1000})
    for size in sizes:
        costs.observe(size, 1000)
    assert len(costs._classes) <= 42
