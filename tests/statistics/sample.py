"""One seeded sample, as statsmodels and tea-tasting were given it."""

from __future__ import annotations

import numpy as np

from turnout_server.statistics.effect import Contrast, Effect, effect
from turnout_server.statistics.estimate import Estimate
from turnout_server.statistics.moments import Moments, PairMoments

# numpy.random.default_rng(20): 4,000 and 1,000 units; for each arm in turn covariate gamma(2, 3), views 1 + poisson(4),
# clicks binomial(views, 0.2 and 0.22), revenue 0.8 covariate + lognormal(0, 1) + 0 and 0.3; all rounded to 3 places.
COVARIATE = (Moments(4000, 23829.951, 213015.48730100002), Moments(1000, 6194.226, 55863.023692))
VIEWS = (Moments(4000, 20240.0, 118000.0), Moments(1000, 5044.0, 29396.0))
CLICKS = (Moments(4000, 4046.0, 7974.0), Moments(1000, 1156.0, 2404.0))
REVENUE = (Moments(4000, 25807.903, 231913.34497099998), Moments(1000, 6944.417, 63853.332407))
CLICKS_OF_VIEWS = tuple(map(PairMoments, CLICKS, VIEWS, (23617.0, 6742.0)))
REVENUE_GIVEN_COVARIATE = tuple(map(PairMoments, REVENUE, COVARIATE, (209957.426225, 57056.880041)))


def compared(*estimates: Estimate | None) -> Effect:
    """Return the effect of two arms in one epoch."""
    found = effect([Contrast("epoch", *estimates)])
    assert found is not None
    return found


def summed(x: np.ndarray) -> Moments:
    """Return the moments of units."""
    return Moments(len(x), float(x.sum()), float((x * x).sum()))
