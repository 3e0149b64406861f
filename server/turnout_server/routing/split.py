"""Weighted rendezvous hashing: which target a unit belongs to.

Each target draws a score from (salt, target name, unit) and its weight; the highest score wins. A unit's draws do not
depend on the other targets, so changing one weight moves units only to or from that target. Shares equal the weights
exactly in expectation: with u uniform on (0, 1), -log(u) / w is exponential with rate w, and the smallest of several
exponentials belongs to the i-th with probability w_i / sum(w).

Source: Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", SPAA 2005 (the logarithmic method).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import xxhash

from turnout_server.routing.route import Route, Target

_SCALE = 2.0**-53


def uniform(salt: str, target: str, unit: str) -> float:
    """Return a number in the open interval (0, 1) that (salt, target, unit) alone decides, on every machine.

    Salt and target get a length prefix each, so that no two triples share a key. The key goes through XXH3-64, seed 0.
    The top 52 bits of the hash, plus one half, are divided by 2**52.
    """
    return uniform_of(prefix(salt, target), unit)


def prefix(salt: str, target: str) -> bytes:
    """Return the part of the key that is the same for every unit."""
    head, middle = salt.encode(), target.encode()
    return b"%d:%b%d:%b" % (len(head), head, len(middle), middle)


def uniform_of(key_prefix: bytes, unit: str) -> float:
    """Return `uniform` for a prefix made beforehand."""
    return ((xxhash.xxh3_64_intdigest(key_prefix + unit.encode("utf-8", "surrogatepass")) >> 12) * 2 + 1) * _SCALE


def pick(route: Route, unit: str) -> Target:
    """Return the target that *unit* belongs to; a new weight moves only whom it must.

    Targets of weight zero are never picked. Of equal scores the earlier target wins.
    """
    return Splitter(route).pick(unit)


def scores(route: Route, unit: str) -> dict[str, float]:
    """Return the score of each target that can be picked, by name, for *unit*; the lowest is picked."""
    return {
        target.name: _score(uniform(route.salt, target.name, unit), target.weight)
        for target in route.targets
        if target.weight > 0
    }


def _score(u: float, weight: float) -> float:
    return -math.log(u) / weight


class Splitter:
    """`pick` for one route, with everything that does not depend on the unit worked out beforehand."""

    def __init__(self, route: Route) -> None:
        self._arms: Sequence[tuple[bytes, float, Target]] = [
            (prefix(route.salt, target.name), target.weight, target) for target in route.targets if target.weight > 0
        ]
        self._total = math.fsum(weight for _, weight, _ in self._arms)

    def pick(self, unit: str) -> Target:
        """Return the target that *unit* belongs to."""
        arms = self._arms
        if len(arms) == 1:
            return arms[0][2]
        best = arms[0][2]
        lowest = math.inf
        for key_prefix, weight, target in arms:
            score = _score(uniform_of(key_prefix, unit), weight)
            if score < lowest:
                lowest, best = score, target
        return best

    def draw(self, u: float) -> Target:
        """Return the target at *u*, uniform in [0, 1), for a request that has no unit to stick to."""
        point = u * self._total
        for _, weight, target in self._arms:
            point -= weight
            if point < 0:
                return target
        return self._arms[-1][2]


def shares(targets: Iterable[Target]) -> dict[str, float]:
    """Return each target's expected share of the traffic, 0 to 1, by name."""
    weights = {target.name: target.weight for target in targets}
    total = math.fsum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
