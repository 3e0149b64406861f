"""Evidence comes to one verdict, with its reasons, and what cannot be believed to none."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.statistics.interval import Interval, Silence
from turnout_server.statistics.verdict import Exposures, Reading, Soundness, Verdict, judge, loss_faults

SOUND = Soundness(srm_p=0.4, exposures=(Exposures(10_000, 10), Exposures(10_000, 12)), is_mature=True)
SILENT = Silence("an arm has 3.0 effective events; 10 are needed")

ends = st.floats(-1, 1)
intervals = st.one_of(st.just(SILENT), st.tuples(ends, ends).map(lambda pair: Interval(min(pair), max(pair))))
readings = st.builds(Reading, st.just("metric"), intervals, st.floats(0.001, 1), st.booleans())


def reading(low: float, high: float, metric: str = "revenue", higher_is_better: bool = True) -> Reading:
    return Reading(metric, Interval(low, high), 0.02, higher_is_better)


def errors(low: float, high: float) -> Reading:
    return reading(low, high, "errors", higher_is_better=False)


@pytest.mark.parametrize(
    ("primary", "guardrail", "verdict", "reason"),
    [
        (reading(0.01, 0.05), errors(-0.01, 0.01), Verdict.WIN, "revenue is better"),
        (reading(-0.05, -0.01), errors(-0.01, 0.01), Verdict.LOSS, "revenue is worse"),
        (reading(-0.01, 0.05), errors(-0.01, 0.01), Verdict.NO_HARM, "revenue is not worse by more than its margin"),
        (reading(-0.03, 0.05), errors(-0.01, 0.01), Verdict.INCONCLUSIVE, "revenue may be worse by more"),
        (reading(0.01, 0.05), errors(-0.01, 0.03), Verdict.INCONCLUSIVE, "errors may be worse by more"),
        (reading(0.01, 0.05), errors(0.03, 0.09), Verdict.LOSS, "errors is worse by more than its margin"),
        (reading(0.01, 0.05), errors(-0.09, -0.03), Verdict.WIN, "revenue is better"),
        (Reading("revenue", SILENT, 0.02), errors(-0.01, 0.01), Verdict.INCONCLUSIVE, "revenue: an arm has 3.0"),
        (reading(0.01, 0.05), Reading("errors", SILENT, 0.02), Verdict.INCONCLUSIVE, "errors: an arm has 3.0"),
        (Reading("revenue", SILENT, 0.02), errors(0.03, 0.09), Verdict.LOSS, "errors is worse"),
        (reading(-0.05, -0.01), Reading("errors", SILENT, 0.02), Verdict.LOSS, "revenue is worse"),
    ],
)
def test_sound_evidence_comes_to(primary: Reading, guardrail: Reading, verdict: Verdict, reason: str) -> None:
    judgement = judge(SOUND, primary, [guardrail])
    assert judgement.verdict is verdict
    assert judgement.reasons[0].startswith(reason)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"srm_p": 0.0009}, "sample ratio mismatch: p = 0.0009"),
        ({"srm_p": math.nan}, "sample ratio mismatch"),
        ({"exposures": (Exposures(980, 20), Exposures(995, 5))}, "an arm lost more than 1% of its exposures"),
        ({"exposures": (Exposures(100_000, 100), Exposures(100_000, 300))}, "the arms lost exposures unequally"),
    ],
)
@given(primary=readings, guardrails=st.lists(readings, max_size=3), is_mature=st.booleans())
def test_nothing_overrides_that_the_data_cannot_be_believed(
    changed: dict[str, object], reason: str, primary: Reading, guardrails: list[Reading], is_mature: bool
) -> None:
    soundness = dataclasses.replace(SOUND, is_mature=is_mature, **changed)
    judgement = judge(soundness, primary, guardrails)
    assert judgement.verdict is Verdict.INVALID
    assert any(each.startswith(reason) for each in judgement.reasons)


@given(readings, st.lists(readings, max_size=3))
def test_nothing_overrides_that_windows_are_open(primary: Reading, guardrails: list[Reading]) -> None:
    soundness = dataclasses.replace(SOUND, is_mature=False)
    assert judge(soundness, primary, guardrails).verdict is Verdict.INCONCLUSIVE


@given(readings, st.lists(readings, max_size=3))
def test_a_win_takes_a_better_metric_and_no_guardrail_that_may_be_harmed(
    primary: Reading, guardrails: list[Reading]
) -> None:
    verdict, reasons = judge(SOUND, primary, guardrails)
    assert reasons
    if verdict in (Verdict.WIN, Verdict.NO_HARM):
        for each in guardrails:
            assert isinstance(each.gain, Interval)
            assert each.gain.low >= -each.margin
        assert isinstance(primary.gain, Interval)
        assert primary.gain.low > (0 if verdict is Verdict.WIN else -math.inf)


@given(readings, st.lists(readings, max_size=3), readings)
def test_another_guardrail_never_makes_a_verdict_better(
    primary: Reading, guardrails: list[Reading], another: Reading
) -> None:
    order = [Verdict.LOSS, Verdict.INCONCLUSIVE, Verdict.NO_HARM, Verdict.WIN]
    before, after = (judge(SOUND, primary, each).verdict for each in (guardrails, [*guardrails, another]))
    assert order.index(after) <= order.index(before)


def test_an_interval_that_is_no_number_proves_nothing() -> None:
    assert judge(SOUND, reading(math.nan, math.nan), []).verdict is Verdict.INCONCLUSIVE


def test_arms_without_exposures_are_not_compared() -> None:
    soundness = dataclasses.replace(SOUND, exposures=(Exposures(0, 0), Exposures(10, 0)))
    assert judge(soundness, reading(0.01, 0.05), []).verdict is Verdict.WIN


@pytest.mark.parametrize("margin", [0.0, -0.1, math.nan])
def test_a_margin_that_nothing_can_show_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        Reading("revenue", Interval(0.0, 1.0), margin)


def test_exposures_that_are_lost_together_are_fewer_pieces_of_evidence() -> None:
    arms = (Exposures(100_000, 100), Exposures(100_000, 200))
    assert loss_faults(arms, clumping=1.0)
    assert not loss_faults(arms, clumping=10.0)
    assert not loss_faults((Exposures(100_000, 100), Exposures(100_000, 110)), clumping=0.0)
