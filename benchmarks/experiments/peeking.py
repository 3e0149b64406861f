"""Many simulated experiments at once, looked at after every batch: what `sequential.look` says, as arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Summer = Callable[[np.random.Generator, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From the units of each batch, the sums of their x and x squared."""


class Batches(NamedTuple):
    """Of one epoch and arm, summed since the epoch began: a row per experiment, a column per look."""

    n: np.ndarray
    total: np.ndarray
    squares: np.ndarray


class Looks(NamedTuple):
    """What is seen: a row per experiment, a column per look."""

    value: np.ndarray
    se: np.ndarray
    units: np.ndarray
    events: np.ndarray


def proportion(p: float) -> Summer:
    """Return what sums zeros and ones."""

    def sums(rng: np.random.Generator, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ones = rng.binomial(n, p)
        return ones, ones

    return sums


def revenue(buyers: float, sigma: float, scale: float = 1.0) -> Summer:
    """Return what sums a lognormal of *sigma* for a share of *buyers*, and 0 for the others."""

    def sums(rng: np.random.Generator, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bought = rng.binomial(n, buyers)
        x = scale * rng.lognormal(0, sigma, int(bought.sum()))
        ends = np.cumsum(bought.ravel())
        starts = ends - bought.ravel()
        total, squares = (np.concatenate([[0.0], np.cumsum(each)]) for each in (x, x * x))
        return (total[ends] - total[starts]).reshape(n.shape), (squares[ends] - squares[starts]).reshape(n.shape)

    return sums


def epochs(
    rng: np.random.Generator, plan: Sequence[tuple[float, int]], batch: int, runs: int, arms: tuple[Summer, Summer]
) -> list[tuple[Batches, Batches]]:
    """Return control and treatment of each epoch: *plan* has the treatment's share and the looks of each."""
    simulated = []
    for share, looks in plan:
        treatment = rng.binomial(batch, share, size=(runs, looks))
        both = (batch - treatment, treatment)
        simulated.append(tuple(summed(rng, n, sums) for n, sums in zip(both, arms, strict=True)))
    return simulated


def summed(rng: np.random.Generator, n: np.ndarray, sums: Summer) -> Batches:
    """Return one arm's sums after each batch, of so many units each."""
    total, squares = sums(rng, n)
    return Batches(*(np.cumsum(each, axis=1).astype(float) for each in (n, total, squares)))


def look(simulated: Sequence[tuple[Batches, Batches]], cautious: bool = True) -> Looks:
    """Return what is seen after every batch of every epoch, those before included."""
    parts = []
    runs = len(simulated[0][0].n)
    before = {name: np.zeros((runs, 1)) for name in ("units", "value", "variance")}
    before |= {
        f"{name}{arm}": np.zeros((runs, 1)) for name in ("total", "squares", "zeros", "zeros_squared") for arm in (0, 1)
    }
    binary = all(np.array_equal(arm.total, arm.squares) for both in simulated for arm in both)
    for both in simulated:
        with np.errstate(all="ignore"):
            now = _epoch(*both, cautious)
        known = (both[0].n > 1) & (both[1].n > 1)
        until = {name: before[name] + np.where(known, part, 0.0) for name, part in now.items()}
        with np.errstate(all="ignore"):
            events = [until[f"total{arm}"] ** 2 / until[f"squares{arm}"] for arm in (0, 1)]
            if binary:
                events += [until[f"zeros{arm}"] ** 2 / until[f"zeros_squared{arm}"] for arm in (0, 1)]
            units = until["units"]
            parts.append(
                Looks(until["value"] / units, np.sqrt(until["variance"]) / units, units, np.min(events, axis=0))
            )
        before = {name: part[:, -1:] for name, part in until.items()}
    value, se, units, events = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
    return Looks(value, se, units, np.nan_to_num(events, nan=0.0))


def misses(seen: Looks, reaches: Callable[[float], float], truth: float = 0.0) -> np.ndarray:
    """Return at which looks an interval misses the *truth*: *reaches* says its standard errors from the units."""
    units, places = np.unique(seen.units, return_inverse=True)
    reached = np.array([reaches(each) if each else math.inf for each in units])
    with np.errstate(all="ignore"):
        return np.abs(seen.value - truth) > reached[places].reshape(seen.units.shape) * seen.se


def _epoch(control: Batches, treatment: Batches, cautious: bool) -> dict[str, np.ndarray]:
    """Return what one epoch adds to the sums over epochs, each times the units of both arms."""
    arms = (control, treatment)
    units = control.n + treatment.n
    means = [arm.total / arm.n for arm in arms]
    spreads = [(arm.squares - arm.total * mean) / (arm.n - 1) for arm, mean in zip(arms, means, strict=True)]
    if cautious:
        most = np.maximum(*spreads)
        smaller = control.n < treatment.n
        spreads = [np.where(smaller, most, spreads[0]), np.where(smaller, spreads[1], most)]
    found = {
        "units": units,
        "value": units * (means[1] - means[0]),
        "variance": units**2 * (spreads[0] / control.n + spreads[1] / treatment.n),
    }
    for index, arm in enumerate(arms):
        weight = units / arm.n
        found |= {
            f"total{index}": weight * arm.total,
            f"squares{index}": weight**2 * arm.squares,
            f"zeros{index}": weight * (arm.n - arm.total),
            f"zeros_squared{index}": weight**2 * (arm.n - arm.total),
        }
    return found
