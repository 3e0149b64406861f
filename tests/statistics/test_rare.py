"""Whoever watches two arms' errors one by one is misled at most as often as alpha says, exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special

from turnout_server.statistics.interval import Interval
from turnout_server.statistics.rare import Events, interval, log_e_value, p_value

counts = st.integers(0, 300)
shares = st.floats(0.01, 0.99)


def log_e_values(control: np.ndarray, treatment: np.ndarray, share: float, truth: float) -> np.ndarray:
    """Return `log_e_value` of arrays, for a ratio of rates."""
    worth = 1 / min(share, 1 - share)
    a, b = share * worth, (1 - share) * worth
    p = share * truth / (1 - share + share * truth)
    mixture = special.betaln(a + treatment, b + control) - special.betaln(a, b)
    return mixture - treatment * math.log(p) - control * math.log1p(-p)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_watching_every_event_misleads_no_oftener_than_alpha(share: float, ratio: float) -> None:
    rng = np.random.default_rng(12)
    p = share * ratio / (1 - share + share * ratio)
    treatment = np.cumsum(rng.random((3000, 800)) < p, axis=1)
    control = np.arange(1, 801) - treatment
    ever = (log_e_values(control, treatment, share, ratio) >= math.log(20)).any(axis=1).mean()
    assert ever <= 0.05
    sample = Events(int(control[0, 99]), int(treatment[0, 99]), share)
    assert log_e_value([sample], math.log(ratio)) == pytest.approx(
        log_e_values(control, treatment, share, ratio)[0, 99]
    )


@given(st.integers(0, 12), shares)
def test_the_e_value_is_1_on_average_over_what_may_come(total: int, share: float) -> None:
    """That makes it an e-value: of *total* events, each is the treatment's with its share."""
    average = math.fsum(
        math.comb(total, x)
        * share**x
        * (1 - share) ** (total - x)
        * math.exp(log_e_value([Events(total - x, x, share)]))
        for x in range(total + 1)
    )
    assert average == pytest.approx(1)


def test_a_canary_with_ten_times_the_errors_is_found_soon() -> None:
    assert p_value([Events(98, 2, 0.02)]) == 1
    assert p_value([Events(27, 6, 0.02)]) < 0.05
    assert p_value([Events(85, 17, 0.02)]) < 1e-6


def test_no_events_say_nothing() -> None:
    assert p_value([]) == p_value([Events(0, 0, 0.1)]) == 1
    assert interval([Events(0, 0, 0.1)], 0.05) == Interval(0.0, math.inf)


@given(counts, counts, shares, st.sampled_from([0.05, 0.001]))
def test_the_interval_holds_exactly_the_ratios_that_are_not_refuted(
    control: int, treatment: int, share: float, alpha: float
) -> None:
    events = [Events(control, treatment, share)]
    low, high = interval(events, alpha)
    assert low < high
    for end in (low, high):
        if 0 < end < math.inf:
            assert log_e_value(events, math.log(end)) == pytest.approx(-math.log(alpha), abs=1e-6)
    p = p_value(events)
    assume(abs(p - alpha) > 1e-9)
    assert (low <= 1 <= high) == (p > alpha)


@given(counts, counts, shares)
def test_arms_that_change_places_change_the_ratio_to_its_inverse(control: int, treatment: int, share: float) -> None:
    assume(control > 0)
    assume(treatment > 0)
    found = interval([Events(control, treatment, share)], 0.05)
    mirrored = interval([Events(treatment, control, 1 - share)], 0.05)
    for end, other in ((found.low, mirrored.high), (found.high, mirrored.low)):
        assert end * other == pytest.approx(1, rel=1e-6) or {end, other} == {0.0, math.inf}


@given(st.lists(st.tuples(counts, counts, shares), max_size=4))
def test_epochs_multiply(parts: list[tuple[int, int, float]]) -> None:
    epochs = [Events(*part) for part in parts]
    assert log_e_value(epochs) == pytest.approx(sum(log_e_value([each]) for each in epochs), abs=1e-9)


def test_epochs_that_contradict_each_other_leave_one_ratio() -> None:
    low, high = interval([Events(300, 0, 0.5), Events(0, 300, 0.5)], 0.05)
    assert low == pytest.approx(high)
    assert low == pytest.approx(1)


@pytest.mark.parametrize("impossible", [(-1, 0, 0.5), (0, -1, 0.5), (0, 0, 0.0), (0, 0, 1.0), (0, 0, math.nan)])
def test_what_cannot_be_is_refused(impossible: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="share of"):
        Events(*impossible)
