"""What people may write, and what they are told where it is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from turnout_server.experiments.definition import InvalidExperimentError
from turnout_server.experiments.text import convert, parse

GOOD = """
name: ranker-v2
route: ranking
control: champion
treatments: [challenger]
window: 7d
units: 20000
primary: conversion
guardrails: [revenue]
metrics:
  conversion: {kind: proportion, outcome: purchase}
  revenue: {kind: mean, outcome: purchase, cap: 500, covariate: {lookback: 2w}}
start: 2026-10-01
stop: 2026-10-15 12:00:00
"""


def test_an_experiment_is_read_with_its_times_in_utc() -> None:
    one = parse(GOOD)
    assert one.arms == ("champion", "challenger")
    assert one.roles == {"conversion": "primary", "revenue": "guardrail"}
    assert (one.start, one.stop) == (datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 15, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("units: 20000", "units: many", r"\$\.units: Expected `int`"),
        ("units: 20000", "", r"\$: Object missing required field `units`"),
        ("units: 20000", "units: 20000\nunit: 3", r"\$: Object contains unknown field `unit`"),
        ("cap: 500", "cap: -1", r"\$\.metrics\.revenue\.cap: Expected `float` > 0"),
        ("lookback: 2w", "lookback: soon", r"\$\.metrics\.revenue\.covariate\.lookback: Expected `str` matching"),
        ("  revenue:", "  Revenue!:", r"\$\.metrics\.Revenue!: the name is not allowed"),
        ("window: 7d", "window: 7d\nwindow: 8d", "the key 'window' stands twice"),
        ("metrics:", "metrics: 3\nothers:", r"\$\.metrics: expected a mapping"),
        ("2026-10-15 12:00:00", "2026-09-01", r"\$\.stop: is not after start"),
        ("2026-10-15 12:00:00", "tomorrow", r"\$\.stop: Invalid RFC3339"),
        ("start: 2026-10-01", "start: 0001-01-01T00:00:00+14:00", r"\$\.start: found 0001-.*; in UTC it is before the"),
        ("stop: 2026-10-15 12:00:00", "stop: 9999-12-31T23:00:00-02:00", r"\$\.stop: .* or after 9999"),
        ("outcome: purchase, cap", 'outcome: "\\ud800", cap', r"\$: found '\\ud800', with half a surrogate pair"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(before: str, after: str, told: str) -> None:
    with pytest.raises(InvalidExperimentError, match=told):
        parse(GOOD.replace(before, after))


@pytest.mark.parametrize("found", [None, 3, [], "text"])
def test_a_document_that_is_no_mapping_is_refused(found: Any) -> None:
    with pytest.raises(InvalidExperimentError, match=r"\$: expected a mapping"):
        convert(found)
