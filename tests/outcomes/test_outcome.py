"""What can be taken, and in which words the rest is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.outcomes.intakes import NOW_US, outcome
from turnout_server.outcomes.outcome import AHEAD_US, EARLIEST_US, Fate, Outcome, check


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"outcome_id": "x" * 128},
        {"unit": "u" * 1024},
        {"unit": "", "request_id": "r"},
        {"name": "a" * 63},
        {"value": 0.0},
        {"value": -1e308},
        {"event_us": EARLIEST_US},
        {"event_us": NOW_US + AHEAD_US},
    ],
)
def test_what_is_within_bounds_is_taken(values: dict[str, Any]) -> None:
    assert check(outcome()._replace(**values), NOW_US) is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"outcome_id": ""}, "ID_MISSING"),
        ({"outcome_id": "x" * 129}, "ID_TOO_LONG"),
        ({"outcome_id": "é" * 65}, "ID_TOO_LONG"),
        ({"unit": ""}, "NO_UNIT"),
        ({"unit": "u" * 1025}, "UNIT_TOO_LONG"),
        ({"unit": "", "request_id": "r" * 1025}, "UNIT_TOO_LONG"),
        ({"name": ""}, "NAME_INVALID"),
        ({"name": "Order"}, "NAME_INVALID"),
        ({"name": "order\n"}, "NAME_INVALID"),
        ({"name": "a" * 64}, "NAME_INVALID"),
        ({"value": math.nan}, "NOT_FINITE"),
        ({"value": -math.inf}, "NOT_FINITE"),
        ({"event_us": None}, "TIME_MISSING"),
        ({"event_us": NOW_US + AHEAD_US + 1}, "IN_THE_FUTURE"),
        ({"event_us": 10**30}, "IN_THE_FUTURE"),
        ({"event_us": EARLIEST_US - 1}, "BEFORE_2000"),
    ],
)
def test_what_is_beyond_them_is_rejected_for_a_reason(values: dict[str, Any], reason: str) -> None:
    found = check(outcome()._replace(**values), NOW_US)
    assert found is not None
    assert (found.fate, found.reason) == (Fate.REJECTED, reason)


def test_no_message_tells_the_unit() -> None:
    secret = "secret" * 1000
    wrong = Outcome("x", secret, "", NOW_US, "order", 1.0)
    found = check(wrong, NOW_US)
    assert found is not None
    assert "secret" not in found.message
