"""Metrics: a number per unit, made of its outcomes, and what is better."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import msgspec

Aggregate = Literal["any", "count", "sum", "max", "min"]
"""What becomes of a unit's outcomes of one name: whether there is one (0 or 1), how many, their values' sum or extreme.
A unit without any is 0."""
Kind = Literal["proportion", "mean", "ratio", "quantile", "rare"]
Better = Literal["up", "down"]
OutcomeName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Duration = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,5}[smhdw]\Z")]
"""As `90s`, `30m`, `12h`, `7d`, `2w`."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds(duration: str) -> int:
    """Return a duration in seconds."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def duration(given: str) -> int | None:
    """Return in seconds what people say as a duration; None for what is none."""
    try:
        return seconds(msgspec.convert(given, Duration))
    except msgspec.ValidationError:
        return None


class Denominator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a ratio's numerator is divided by, of the same units."""

    outcome: OutcomeName
    of: Aggregate = "count"


class Covariate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a unit did before it was first exposed: outcomes in `lookback` before that."""

    lookback: Duration
    outcome: OutcomeName | None = None
    """None is the metric's own."""
    of: Aggregate | None = None
    """None is the metric's own."""


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the metric is today, to plan with."""

    mean: float
    variance: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Of one unit; None for a proportion, whose mean says it."""


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number per unit, and how arms are compared by it."""

    kind: Kind
    outcome: OutcomeName
    of: Aggregate | None = None
    """None is `any` of a proportion or a rare event, and `sum` of the others."""
    denominator: Denominator | None = None
    """Of a ratio."""
    quantile: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    """Of a quantile: which."""
    cap: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """A unit's number counts as at most this: fixed at the start, and blind to the arm."""
    covariate: Covariate | None = None
    """Of a mean or a proportion."""
    better: Better | None = None
    """None is `up`, but of rare events, which may be errors or sales: there it has to be said."""
    margin: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.02
    """How much worse is still no harm, as a part of control's value."""
    window: Duration | None = None
    """How long after the first exposure outcomes count; None is the experiment's."""
    baseline: Baseline | None = None

    @property
    def aggregate(self) -> Aggregate:
        """What becomes of a unit's outcomes."""
        return self.of or ("any" if self.kind in ("proportion", "rare") else "sum")

    @property
    def direction(self) -> Better:
        """Where it is better."""
        return self.better or "up"


class Part(NamedTuple):
    """One of the one or two numbers that a metric has of each unit."""

    part: Literal["x", "y"]
    """`x` is the metric or a ratio's numerator, `y` a ratio's denominator or the covariate."""
    outcome: str
    aggregate: Aggregate
    cap: float | None
    begin_s: int
    """Outcomes count from so long after the first exposure on; before it where this is negative."""
    end_s: int
    """And to before so long after it."""


def parts(metric: Metric, window_s: int) -> tuple[Part, ...]:
    """Return the numbers that *metric* has of each unit, in a window of so many seconds."""
    first = Part("x", metric.outcome, metric.aggregate, metric.cap, 0, window_s)
    if metric.denominator is not None:
        below = metric.denominator
        return (first, Part("y", below.outcome, below.of, None, 0, window_s))
    if metric.covariate is not None:
        before = metric.covariate
        outcome, of = before.outcome or metric.outcome, before.of or metric.aggregate
        return (first, Part("y", outcome, of, metric.cap, -seconds(before.lookback), 0))
    return (first,)


def faults(metric: Metric) -> Iterator[tuple[str, str]]:
    """Yield what types cannot say is wrong with *metric*: a field and what was expected of it."""
    kind = metric.kind
    if (metric.denominator is not None) != (kind == "ratio"):
        yield "denominator", "a ratio has one, and no other kind"
    if (metric.quantile is not None) != (kind == "quantile"):
        yield "quantile", "a quantile says which, and no other kind does"
    if metric.covariate is not None and kind not in ("mean", "proportion"):
        yield "covariate", f"of means and proportions only, and this is a {kind}"
    if kind in ("proportion", "rare") and metric.aggregate != "any":
        yield "of", f"a {kind} counts units: expected 'any', which may be left out"
    if kind == "rare" and metric.better is None:
        yield "better", "expected 'up' or 'down': a rare event may be an error, or a sale"
    if metric.cap is not None and (kind in ("proportion", "rare") or not math.isfinite(metric.cap)):
        yield "cap", "a finite number, of means, ratios and quantiles only"
    if metric.baseline is not None:
        yield from _of_baseline(kind, metric.baseline)


def _of_baseline(kind: Kind, baseline: Baseline) -> Iterator[tuple[str, str]]:
    if kind in ("proportion", "rare"):
        if not 0 < baseline.mean < 1:
            yield "baseline.mean", f"found {baseline.mean}; a share is between 0 and 1"
    elif baseline.variance is None:
        yield "baseline.variance", "missing: only a proportion's mean says how much units differ"
    if not math.isfinite(baseline.mean) or not baseline.mean:
        yield "baseline.mean", f"found {baseline.mean}; expected a number other than 0"
