"""Who takes part in a route's experiment.

Three draws decide, each independent of the others and of the split: the layer's holdout, the unit's bucket in the
layer, and enrolment. They are the split's `uniform`, with a name in the target's place that no target can have. So a
unit stays where it is while other draws' bounds change, and a share that grows only takes in.
"""

from __future__ import annotations

from typing import NamedTuple

from turnout_server.routing.layer import Layer
from turnout_server.routing.route import BUCKETS, Experiment
from turnout_server.routing.split import prefix, uniform_of
from turnout_server.vocabulary.decision import Reason

HOLDOUT = "/holdout"
"""Stands where a split's draws have the target. No name has a slash."""
BUCKET = "/bucket"
ENROLMENT = "/enrolment"


class Draws(NamedTuple):
    """What one unit drew."""

    holdout: float | None
    """Uniform in (0, 1): below the layer's holdout the unit is in it. None without a layer."""
    bucket: int | None
    """The unit's bucket in the layer, from 0; None likewise."""
    enrolment: float
    """Uniform in (0, 1): below the experiment's enrolment the unit takes part."""


class Gate:
    """Says which units an experiment gets, with everything that does not depend on the unit worked out beforehand."""

    __slots__ = ("_bucket", "_buckets", "_enrolment", "_experiment", "_holdout", "_layer", "share")

    def __init__(self, salt: str, experiment: Experiment, layer: Layer | None) -> None:
        """Make one for an *experiment* on a route with that *salt*, in its *layer*, if it is in one."""
        self._experiment = experiment
        self._layer = layer
        self._enrolment = prefix(salt, ENROLMENT)
        self._holdout = prefix(layer.salt, HOLDOUT) if layer is not None else b""
        self._bucket = prefix(layer.salt, BUCKET) if layer is not None else b""
        self._buckets = frozenset(number for first, end in experiment.buckets for number in range(first, end))
        granted = (1.0 - layer.holdout) * len(self._buckets) / BUCKETS if layer is not None else 1.0
        self.share = granted * experiment.enrolment
        """The share of units that are expected to take part, 0 to 1."""

    def keeps_out(self, unit: str) -> Reason | None:
        """Return why *unit* does not take part: HOLDOUT or UNENROLLED; None where it does."""
        layer = self._layer
        if layer is not None:
            if layer.holdout and uniform_of(self._holdout, unit) < layer.holdout:
                return Reason.HOLDOUT
            if self._bucket_of(unit) not in self._buckets:
                return Reason.UNENROLLED
        enrolment = self._experiment.enrolment
        if enrolment < 1.0 and uniform_of(self._enrolment, unit) >= enrolment:
            return Reason.UNENROLLED
        return None

    def draws(self, unit: str) -> Draws:
        """Return what *unit* drew, also where an earlier draw has decided already."""
        enrolment = uniform_of(self._enrolment, unit)
        if self._layer is None:
            return Draws(None, None, enrolment)
        return Draws(uniform_of(self._holdout, unit), self._bucket_of(unit), enrolment)

    def has(self, bucket: int) -> bool:
        """Say whether a bucket of the layer is the experiment's."""
        return bucket in self._buckets

    def _bucket_of(self, unit: str) -> int:
        return int(uniform_of(self._bucket, unit) * BUCKETS)
