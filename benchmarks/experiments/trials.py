"""Simulated experiments by the metric, the share of the treatment and the truth, each looked at after every batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from scipy import special

from benchmarks.experiments import peeking
from benchmarks.experiments.peeking import Looks, Summer, proportion, revenue
from turnout_server.statistics import power
from turnout_server.statistics.power import Plan
from turnout_server.statistics.sequential import EVENTS, Horizon, reach

ALPHA, POWER, LOOKS = 0.05, 0.8, 500
SHARES = (0.5, 0.1, 0.02)
"""Of the treatment."""
TIMES = (1.0, 1.5, 2.0)
"""True effects, in planned ones."""
TEXTBOOK, OURS, FIXED = "textbook sequence", "Turnout's", "fixed horizon, peeked at"
METHODS = (FIXED, TEXTBOOK, OURS)
_AT_ONCE = 100
"""Experiments, so that what they drew fits into memory."""


class Metric(NamedTuple):
    """What units do."""

    units: int
    """Of both arms, at the planned end."""
    mean: float
    variance: float
    """Of one unit's x."""
    lifted: Callable[[float], Summer]
    """Units whose mean is higher by a part: 0.1 is 10 %."""


class Found(NamedTuple):
    """How soon an effect was found."""

    fixed: int
    """Units of both arms that a fixed-horizon test has to wait for, planned for the same effect and power."""
    units: np.ndarray
    """At the decision, by experiment; infinite where there was none until the planned end."""


def _converting(p: float, units: int) -> Metric:
    return Metric(units, p, p * (1 - p), lambda lift: proportion(p * (1 + lift)))


def _spending(buyers: float, sigma: float, units: int) -> Metric:
    mean, square = buyers * math.exp(sigma**2 / 2), buyers * math.exp(2 * sigma**2)
    return Metric(units, mean, square - mean**2, lambda lift: revenue(buyers, sigma, 1 + lift))


METRICS: Mapping[str, Metric] = {
    "1 % convert": _converting(0.01, 100_000),
    "10 % convert": _converting(0.1, 100_000),
    "revenue, 1 in 10 buys": _spending(0.1, 1.5, 100_000),
    "revenue, all buy": _spending(1.0, 1.5, 20_000),
}
"""Revenue is lognormal with sigma 1.5: 1 % of the buyers bring a fifth of it."""


def alarms(metric: Metric, share: float, runs: int) -> dict[str, np.ndarray]:
    """Return when each method first sees an effect between equal arms, in planned units; infinite where it never does.

    By method, one for each experiment.
    """
    found: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
    for plain, ours in _seen(metric, share, 0.0, runs, seed=1):
        for method in METHODS:
            found[method].append(_first(_missed(method, metric, plain, ours, 0.0), ours) / metric.units)
    return {method: np.concatenate(parts) for method, parts in found.items()}


def covered(metric: Metric, share: float, times: float, runs: int) -> float:
    """Return the share of experiments whose interval holds a true effect, *times* the planned one, at every look."""
    lift = times * planned(metric, share) / metric.mean
    missed = [
        _missed(OURS, metric, plain, ours, lift * metric.mean).any(axis=1)
        for plain, ours in _seen(metric, share, lift, runs, seed=2)
    ]
    return 1 - float(np.concatenate(missed).mean())


def decided(metric: Metric, share: float, times: float, runs: int) -> Found:
    """Return how soon an effect that is *times* the planned one is found."""
    effect = planned(metric, share)
    lift = times * effect / metric.mean
    found = [
        _first(_missed(OURS, metric, plain, ours, 0.0), ours)
        for plain, ours in _seen(metric, share, lift, runs, seed=3)
    ]
    fixed = power.units(Plan(share, ALPHA, POWER, always_valid=False), effect, metric.variance, metric.variance)
    return Found(fixed, np.concatenate(found))


def planned(metric: Metric, share: float) -> float:
    """Return the effect that the metric's units find with the planned power, looked at at any time."""
    return power.detectable(Plan(share, ALPHA, POWER), metric.units, metric.variance, metric.variance)


def _seen(metric: Metric, share: float, lift: float, runs: int, seed: int) -> Iterator[tuple[Looks, Looks]]:
    """Yield some experiments after the others, each as the data are and as `sequential.cautious` has them."""
    rng = np.random.default_rng([seed, round(share * 100), metric.units])
    arms = (metric.lifted(0.0), metric.lifted(lift))
    for done in range(0, runs, _AT_ONCE):
        at_once = min(_AT_ONCE, runs - done)
        simulated = peeking.epochs(rng, [(share, LOOKS)], metric.units // LOOKS, at_once, arms)
        yield peeking.look(simulated, cautious=False), peeking.look(simulated)


def _missed(method: str, metric: Metric, plain: Looks, ours: Looks, truth: float) -> np.ndarray:
    """Return at which looks a method's interval misses the *truth*."""
    horizon = Horizon(metric.units, ALPHA)
    if method == FIXED:
        z = -float(special.ndtri(ALPHA / 2))
        return peeking.misses(plain, lambda _: z, truth) & (plain.se > 0)
    if method == TEXTBOOK:
        return peeking.misses(plain, lambda units: reach(units, horizon), truth) & (plain.se > 0)
    return peeking.misses(ours, lambda units: reach(units, horizon), truth) & (ours.events >= EVENTS)


def _first(missed: np.ndarray, seen: Looks) -> np.ndarray:
    """Return the units of both arms at the first look of each experiment that missed; infinite where none did."""
    at = seen.units[np.arange(len(missed)), missed.argmax(axis=1)]
    return np.where(missed.any(axis=1), at, math.inf)
