"""Many simulated experiments at once, looked at after every batch: what `sequential.look` says, as arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Summer = Callable[[np.random.Generator, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From the units of each batch, the sums of their x and x squared."""


_BY_ARM = ("value", "variance", "borrowed", "total", "squares", "zeros", "zeros_squared")


class Batches(NamedTuple):
    """Of one epoch and arm, summed since the epoch began: a row per experiment, a column per look."""

    n: np.ndarray
    total: np.ndarray
    squares: np.ndarray


class Looks(NamedTuple):
    """What is seen: a row per experiment, a column per look."""

    values: tuple[np.ndarray, np.ndarray]
    """Control's and the treatment's, as `Effect` has them; so are variances and what was borrowed."""
    variances: tuple[np.ndarray, np.ndarray]
    borrowed: tuple[np.ndarray, np.ndarray]
    units: np.ndarray
    events: np.ndarray

    @property
    def value(self) -> np.ndarray:
        """Treatment less control."""
        return self.values[1] - self.values[0]

    @property
    def se(self) -> np.ndarray:
        """The standard error of `value`."""
        return np.sqrt(self.variances[0] + self.variances[1])


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
    before = {"units": np.zeros((runs, 1))}
    before |= {f"{name}{arm}": np.zeros((runs, 1)) for name in _BY_ARM for arm in (0, 1)}
    binary = all(np.array_equal(arm.total, arm.squares) for both in simulated for arm in both)
    for both in simulated:
        with np.errstate(all="ignore"):
            now = _epoch(*both, cautious, lends=cautious and not binary)
        known = (both[0].n > 1) & (both[1].n > 1)
        until = {name: before[name] + np.where(known, part, 0.0) for name, part in now.items()}
        with np.errstate(all="ignore"):
            events = [until[f"total{arm}"] ** 2 / until[f"squares{arm}"] for arm in (0, 1)]
            if binary:
                events += [until[f"zeros{arm}"] ** 2 / until[f"zeros_squared{arm}"] for arm in (0, 1)]
            units = until["units"]
            values = [until[f"value{arm}"] / units for arm in (0, 1)]
            variances = [until[f"{name}{arm}"] / units**2 for name in ("variance", "borrowed") for arm in (0, 1)]
        parts.append((*values, *variances, units, np.min(events, axis=0)))
        before = {name: part[:, -1:] for name, part in until.items()}
    *by_arm, units, events = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
    values, variances, borrowed = (tuple(by_arm[at : at + 2]) for at in (0, 2, 4))
    return Looks(values, variances, borrowed, units, np.nan_to_num(events, nan=0.0))


def misses(seen: Looks, reaches: Callable[[float], float], truth: float = 0.0) -> np.ndarray:
    """Return at which looks an interval misses the *truth*: *reaches* says its standard errors from the units."""
    units, places = np.unique(seen.units, return_inverse=True)
    reached = np.array([reaches(each) if each else math.inf for each in units])[places].reshape(seen.units.shape)
    # Whose units are the larger ones and vary more, if that is true, and the other arm.
    more, less = (1, 0) if truth > 0 else (0, 1)
    with np.errstate(all="ignore"):
        times = 1 + abs(truth) / seen.values[less]
        is_above_0 = seen.values[less] > reached * np.sqrt(seen.variances[less])
        varying = seen.variances[less] + np.where(is_above_0, times**2, 0.0) * seen.borrowed[more]
        # Nothing is borrowed for what is nearer to 0 than what is seen, nor against what is seen the other way round.
        value = seen.value * np.sign(truth)
        varying = np.where((value < abs(truth)) & (value >= -reached * seen.se), varying, 0.0)
        return np.abs(seen.value - truth) > reached * np.sqrt(np.maximum(seen.se**2, varying))


def _epoch(control: Batches, treatment: Batches, cautious: bool, lends: bool) -> dict[str, np.ndarray]:
    """Return what one epoch adds to the sums over epochs, each times the units of both arms."""
    arms = (control, treatment)
    units = control.n + treatment.n
    means = [arm.total / arm.n for arm in arms]
    own = [(arm.squares - arm.total * mean) / (arm.n - 1) for arm, mean in zip(arms, means, strict=True)]
    smaller = (control.n < treatment.n, control.n >= treatment.n)
    found = {"units": units}
    for index, arm in enumerate(arms):
        weight = units / arm.n
        borrowed = np.where(smaller[index], own[1 - index], 0.0)
        spread = np.maximum(own[index], borrowed) if cautious else own[index]
        found |= {
            f"value{index}": units * means[index],
            f"variance{index}": units * weight * spread,
            f"borrowed{index}": units * weight * borrowed if lends else np.zeros_like(units),
            f"total{index}": weight * arm.total,
            f"squares{index}": weight**2 * arm.squares,
            f"zeros{index}": weight * (arm.n - arm.total),
            f"zeros_squared{index}": weight**2 * (arm.n - arm.total),
        }
    return found
