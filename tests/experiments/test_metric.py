"""Metrics: what they are made of, and which make no sense."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from turnout_server.experiments.metric import Metric, Part, faults, parts, seconds


def metric(**fields: Any) -> Metric:
    return msgspec.convert({"kind": "mean", "outcome": "purchase"} | fields, Metric)


@pytest.mark.parametrize(("text", "found"), [("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600)])
def test_durations(text: str, found: int) -> None:
    assert seconds(text) == found


def test_a_metric_is_one_number_a_unit_or_two() -> None:
    assert parts(metric(), 60) == (Part("x", "purchase", "sum", None, 0, 60),)
    ratio = metric(kind="ratio", denominator={"outcome": "view"}, cap=5)
    assert parts(ratio, 60)[1] == Part("y", "view", "count", None, 0, 60)
    freed = metric(covariate={"lookback": "1h"}, cap=5, of="count")
    assert parts(freed, 60)[1] == Part("y", "purchase", "count", 5, -3600, 0)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"kind": "ratio"}, "denominator"),
        ({"denominator": {"outcome": "view"}}, "denominator"),
        ({"kind": "quantile"}, "quantile"),
        ({"quantile": 0.5}, "quantile"),
        ({"kind": "quantile", "quantile": 0.5, "covariate": {"lookback": "1d"}}, "covariate"),
        ({"kind": "proportion", "of": "sum"}, "of"),
        ({"kind": "proportion", "cap": 3}, "cap"),
        ({"kind": "rare"}, "better"),
        ({"baseline": {"mean": 3}}, "baseline.variance"),
        ({"kind": "proportion", "baseline": {"mean": 1.5}}, "baseline.mean"),
        ({"baseline": {"mean": 0, "variance": 1}}, "baseline.mean"),
    ],
)
def test_what_makes_no_sense_is_told_by_its_field(fields: dict[str, Any], place: str) -> None:
    assert [where for where, _ in faults(metric(**fields))] == [place]


def test_what_makes_sense_has_no_faults() -> None:
    for fields in ({}, {"kind": "proportion", "baseline": {"mean": 0.1}}, {"kind": "rare", "better": "down"}):
        assert not list(faults(metric(**fields)))
