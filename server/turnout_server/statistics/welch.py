"""Fixed-horizon intervals and p-values: right once, at a moment that was planned, and for nobody who looks before.

Source: B. L. Welch, "The generalization of 'Student's' problem when several different population variances are
involved", Biometrika 34, 1947.
"""

from __future__ import annotations

from scipy import special

from turnout_server.statistics.effect import Effect


def reach(effect: Effect, alpha: float) -> float:
    """Return how many standard errors an interval reaches, to cover the truth with probability 1 - *alpha* (0 to 1)."""
    return float(special.stdtrit(effect.df, 1 - alpha / 2))


def p_value(effect: Effect) -> float:
    """Return the two-sided p-value of there being no effect; 1 where no unit differs from another of its arm."""
    if not effect.se:
        return 1.0
    return 2 * float(special.stdtr(effect.df, -abs(effect.value) / effect.se))
