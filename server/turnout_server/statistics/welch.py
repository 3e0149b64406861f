"""Fixed-horizon intervals and p-values: right once, at a moment that was planned, and for nobody who looks before.

Source: B. L. Welch, "The generalization of 'Student's' problem when several different population variances are
involved", Biometrika 34, 1947.

An arm without a single event has no variance, and would seem sure of it: with 2 conversions to be expected in 2 % of
100,000 units 14 % of 20,000 A/A tests raise a false alarm at alpha 5 %, with 10 of them 7.3 %, with 20 6.2 %. So of
proportions, and of anything else as long as an arm has no variance, nothing is said before each arm may *expect*
`EXPECTED` events by what both did together: that is blind to the effect. Heavy tails are not helped by that. Of
lognormal revenue (sigma 1.5) in a small arm, 2 %, with 100 (1,000) buyers, 14 (8) % of 1,000 A/A tests raise one, and
`sequential` 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from scipy import special

from turnout_server.statistics.effect import Contrast, Effect, effect
from turnout_server.statistics.estimate import Estimate
from turnout_server.statistics.interval import Silence
from turnout_server.statistics.moments import effective_events, merged

EXPECTED = 10
"""Events that each arm has to expect."""


def look(contrasts: Iterable[Contrast]) -> Effect | Silence:
    """Return the effect that `reach` and `p_value` are about, or why nothing may be said."""
    given = tuple(contrasts)
    seen = effect(given)
    if seen is None:
        return Silence("no epoch has two units of each arm")
    both = [(control, treatment) for _, control, treatment in given if control is not None and treatment is not None]
    if _is_binary(both) or not (seen.control.variance and seen.treatment.variance):
        expected = _expected(both)
        if expected < EXPECTED:
            return Silence(f"an arm may expect {expected:.1f} events; {EXPECTED} are needed")
    return seen


def _is_binary(both: Sequence[tuple[Estimate, Estimate]]) -> bool:
    return all(moments.is_binary for arms in both for each in arms for moments in each.counted)


def _expected(both: Sequence[tuple[Estimate, Estimate]]) -> float:
    """Return the effective events of both arms together, by the share of the smaller arm in each epoch."""
    return min(
        math.fsum(
            effective_events([merged(counted)]) * min(each.units for each in arms) / sum(each.units for each in arms)
            for arms in both
            for counted in [[each.counted[which] for each in arms]]
        )
        for which in range(len(both[0][0].counted))
    )


def reach(effect: Effect, alpha: float) -> float:
    """Return how many standard errors an interval reaches, to cover the truth with probability 1 - *alpha* (0 to 1)."""
    return float(special.stdtrit(effect.df, 1 - alpha / 2))


def p_value(effect: Effect) -> float:
    """Return the two-sided p-value of there being no effect; 1 where no unit differs from another of its arm."""
    if not effect.se:
        return 1.0
    return 2 * float(special.stdtr(effect.df, -abs(effect.value) / effect.se))
