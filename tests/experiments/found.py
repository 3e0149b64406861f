"""Findings as an analysis might have them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from turnout_server.experiments.definition import digest_of
from turnout_server.experiments.findings import (
    FORMAT,
    Arm,
    ArmLoss,
    Comparison,
    Day,
    Difference,
    EpochEffect,
    EpochSplit,
    Findings,
    Interval,
    Novelty,
    Soundness,
    Step,
    Verdict,
)
from turnout_server.experiments.text import convert

START = datetime(2026, 10, 1, tzinfo=UTC)
NOTHING = Difference(None, None)
ASKED: dict[str, Any] = {
    "name": "ranker-v2",
    "route": "ranking",
    "control": "champion",
    "treatments": ["challenger"],
    "primary": "conversion",
    "guardrails": ["revenue"],
    "window": "7d",
    "units": 20_000,
    "start": "2026-10-01T00:00:00Z",
    "metrics": {
        "conversion": {"kind": "proportion", "outcome": "purchase"},
        "revenue": {"kind": "mean", "outcome": "purchase", "covariate": {"lookback": "14d"}},
    },
}


def difference(value: float, low: float, high: float) -> Difference:
    return Difference(value, Interval(low, high))


def comparison(metric: str = "conversion", treatment: str = "challenger", **changes: Any) -> Comparison:
    made = Comparison(
        metric=metric,
        role="primary",
        kind="proportion",
        better="up",
        margin=0.02,
        control=Arm("champion", 10_055, 0.05),
        treatment=Arm(treatment, 9_945, 0.0686),
        absolute=difference(0.0186, 0.0089, 0.0292),
        relative=difference(0.3846, 0.1655, 0.6533),
        alpha=0.05,
        p=1.5e-6,
        adjusted_p=1.5e-6,
        exploratory=False,
        silence=None,
        epochs=(EpochEffect("e1", 10_055, 9_945, 0.05, 0.0686),),
    )
    return msgspec.structs.replace(made, **changes)


def guardrail(metric: str = "revenue", treatment: str = "challenger", **changes: Any) -> Comparison:
    fields = {"role": "guardrail", "kind": "mean", "adjusted_p": None, "theta_variance_left": 0.25, **changes}
    return comparison(metric, treatment, **fields)


def exploratory(metric: str = "aov", treatment: str = "challenger", **changes: Any) -> Comparison:
    return comparison(metric, treatment, **{"role": "secondary", "kind": "ratio", "exploratory": True, **changes})


def soundness(arms: Sequence[str] = ("champion", "challenger"), days: int = 3, **changes: Any) -> Soundness:
    units = tuple(1_000 + index for index in range(len(arms)))
    shares = (1 / len(arms),) * len(arms)
    made = Soundness(
        srm_p=0.64,
        srm_e=0.02,
        epochs=(EpochSplit("e1", START, START + timedelta(days=days), tuple(arms), shares, units, 0.64),),
        days=tuple(Day(date(2026, 10, 1) + timedelta(days=day), tuple(arms), units, 0.64) for day in range(days)),
        units=20_000,
        excluded=0,
        immature=0,
        moved=0,
        exposures=40_000,
        fallbacks=0,
        failed=0,
        offered=40_000,
        lost=0,
        losses=tuple(ArmLoss(arm, 40_000 // len(arms), 0) for arm in arms),
        lost_unknown=0,
        clumping=2.5,
        others={},
        outcomes=1_180,
        duplicates=0,
        quarantined=0,
        nobodys=0,
        strangers=0,
        early=0,
        unreadable={},
    )
    return msgspec.structs.replace(made, **changes)


def sequence(treatments: Sequence[str] = ("challenger",), days: int = 3) -> tuple[Step, ...]:
    """The first day is silent, and intervals narrow from then on."""
    return tuple(
        Step(
            date(2026, 10, 1) + timedelta(days=day),
            treatment,
            2_000 * (day + 1),
            0.38123 if day else None,
            Interval(0.38123 - 0.9 / day, 0.38123 + 0.9 / day) if day else None,
        )
        for treatment in treatments
        for day in range(days)
    )


def findings(**changes: Any) -> Findings:
    asked = changes.pop("asked", None) or convert(ASKED)
    treatments = asked.treatments
    made = Findings(
        format=FORMAT,
        experiment=asked.name,
        question=asked.question,
        route=asked.route,
        definition_digest=digest_of(asked),
        definition=msgspec.to_builtins(asked),
        frozen=True,
        added=(),
        marks=(),
        method=asked.method,
        alpha=asked.alpha,
        planned_units=asked.units,
        start=START,
        stop=START + timedelta(days=31),
        as_of=START + timedelta(days=31),
        digests={"records": "0" * 64, "outcomes": "1" * 64, "sql": "2" * 64},
        verdicts=tuple(Verdict(each, "WIN", ("conversion is better",)) for each in treatments),
        comparisons=(
            *(comparison(treatment=each) for each in treatments),
            *(guardrail(treatment=each) for each in treatments),
        ),
        soundness=soundness(asked.arms),
        sequence=sequence(treatments),
        novelty=tuple(Novelty(each, 0.4, 0.31) for each in treatments),
        sql="SELECT 1;\n",
    )
    return msgspec.structs.replace(made, **changes)


def largest(metrics: int = 100, treatments: int = 5, days: int = 366, epochs: int = 12, **changes: Any) -> Findings:
    """Findings of names as long as they may be."""
    arms = [f"challenger-{index:02}".ljust(63, "x") for index in range(treatments)]
    names = [f"metric-{index:03}".ljust(63, "x") for index in range(metrics)]
    body = {"kind": "mean", "outcome": "o" * 64, "cap": 123.456, "covariate": {"lookback": "14d", "outcome": "p" * 64}}
    roles = {"primary": names[0], "guardrails": names[1:4], "secondary": names[4:]}
    asked = convert({**ASKED, **roles, "treatments": arms, "metrics": dict.fromkeys(names, body)})
    parts = tuple(EpochEffect(f"{index:064}", 10_000, 10_000, 0.05, 0.0512345) for index in range(epochs))
    each = EpochSplit("0", START, START, asked.arms, (1.0,) * len(asked.arms), (1_234_567,) * len(asked.arms), 0.123)
    split = tuple(msgspec.structs.replace(each, epoch=f"{index:064}") for index in range(epochs))
    made = {"primary": comparison, "guardrail": guardrail, "secondary": exploratory}
    return findings(
        asked=asked,
        comparisons=tuple(
            made[role](metric, arm, epochs=parts, relative=difference(0.123456, -0.123456, 1.23456 + index / 1000))
            for index, (metric, role) in enumerate(asked.roles.items())
            for arm in arms
        ),
        soundness=soundness(asked.arms, days, epochs=split),
        sequence=sequence(arms, days),
        **changes,
    )


def silent(each: Comparison, why: str = "an arm has 3.0 effective events; 10 are needed") -> Comparison:
    return msgspec.structs.replace(each, absolute=NOTHING, relative=NOTHING, p=None, adjusted_p=None, silence=why)


def endless(each: Comparison) -> Comparison:
    return msgspec.structs.replace(each, relative=difference(0.1, -math.inf, math.inf))
