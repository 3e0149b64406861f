"""Findings are said in words that nobody can misread, and what is not known is said too."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.experiments import found
from turnout_server.experiments import words
from turnout_server.experiments.findings import Interval, Verdict

numbers = st.one_of(st.none(), st.floats())


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("WIN", "WIN: challenger is better than champion: it is so; really"),
        ("LOSS", "LOSS: challenger is worse than champion: it is so; really"),
        ("INVALID", "INVALID: nothing can be said of challenger: it is so; really"),
        ("INCONCLUSIVE", "INCONCLUSIVE: nobody knows yet whether challenger is better than champion: it is so; really"),
    ],
)
def test_a_verdict_is_one_sentence_with_its_reasons(verdict: str, said: str) -> None:
    assert words.sentence(found.findings(), Verdict("challenger", verdict, ("it is so", "really"))) == said


def test_no_harm_does_not_sound_like_a_win() -> None:
    said = words.sentence(found.findings(), Verdict("challenger", "NO_HARM", ("why",)))
    assert "nothing says that it is better" in said


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        (0.0, "0.00%"),
        (-0.0, "0.00%"),
        (-1.1e-16, "0.00%"),
        (0.000012, "0.0012%"),
        (0.00984, "0.98%"),
        (0.38462, "38.5%"),
        (1.2413, "124%"),
        (12.5, "1,250%"),
        (2e5, "2e+05 times"),
    ],
)
def test_percent_has_the_digits_that_count(part: float, shown: str) -> None:
    assert words.percent(part) == shown


def test_a_change_has_its_sign() -> None:
    assert words.change(0.0984, "mean", is_relative=True) == "+9.84%"
    assert words.change(-0.5, "mean", is_relative=False) == "-0.5"


def test_shares_differ_in_points_and_not_in_percent() -> None:
    assert words.level(0.04953, "proportion") == "4.95%"
    assert words.change(0.019, "proportion", is_relative=False) == "+1.9 points"
    assert words.level(34.9157, "mean") == "34.92"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.1, 0.25, "-10.0% to +25.0%"),
        (-0.1, math.inf, "-10.0% or more"),
        (-math.inf, 0.25, "+25.0% or less"),
        (-math.inf, math.inf, "any value"),
        (math.nan, 0.25, "unknown"),
    ],
)
def test_an_end_that_reaches_to_infinity_is_none(low: float, high: float, said: str) -> None:
    assert words.interval(Interval(low, high), "mean", is_relative=True) == said


@given(numbers, numbers, st.sampled_from(["proportion", "mean"]), st.booleans())
def test_nothing_unknown_is_shown_as_code(one: float | None, other: float | None, kind: str, is_relative: bool) -> None:
    ends = None if one is None or other is None else Interval(one, other)
    said = [
        words.level(one, kind),
        words.change(one, kind, is_relative=is_relative),
        words.interval(ends, kind, is_relative=is_relative),
        words.p_value(one),
    ]
    assert not any(bad in each.lower() for each in said[:3] for bad in ("nan", "inf", "none"))
    assert "nan" not in said[3]


def test_a_p_value_of_zero_is_a_very_small_one() -> None:
    assert words.p_value(0.0) == "under 1e-300"
    assert words.p_value(None) == "none"
    assert words.p_value(0.04321) == "0.043"


def test_times_are_in_utc() -> None:
    moment = datetime(2026, 10, 1, 2, 30, tzinfo=timezone(timedelta(hours=2)))
    assert words.moment(moment) == "2026-10-01 00:30 UTC"
