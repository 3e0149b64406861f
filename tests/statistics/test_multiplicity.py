"""Adjusted p-values are those of statsmodels 0.15.0, `multipletests`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.statistics.multiplicity import benjamini_hochberg, holm

SEEN = [0.01, 0.04, 0.03, 0.005, 0.8, 0.03]
p_values = st.lists(st.floats(0, 1), max_size=12)


def test_holm_s_are_as_statsmodels_has_them() -> None:
    assert holm(SEEN) == pytest.approx((0.05, 0.12, 0.12, 0.03, 0.8, 0.12))


def test_benjamini_and_hochberg_s_are_as_statsmodels_has_them() -> None:
    assert benjamini_hochberg(SEEN) == pytest.approx((0.03, 0.048, 0.045, 0.03, 0.8, 0.045))


@given(p_values)
def test_adjusting_only_raises_and_never_beyond_bonferroni(seen: list[float]) -> None:
    for p, rate, family in zip(seen, benjamini_hochberg(seen), holm(seen), strict=True):
        assert p <= rate * (1 + 1e-12)
        assert rate <= family * (1 + 1e-12)
        assert family <= min(1.0, len(seen) * p) * (1 + 1e-12)


@given(p_values, st.randoms())
def test_the_order_does_not_count(seen: list[float], shuffler: object) -> None:
    order = list(range(len(seen)))
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    for adjust in (holm, benjamini_hochberg):
        adjusted = adjust(seen)
        assert adjust([seen[index] for index in order]) == tuple(adjusted[index] for index in order)


def test_one_alone_is_as_it_is() -> None:
    assert holm([0.04]) == benjamini_hochberg([0.04]) == (0.04,)
