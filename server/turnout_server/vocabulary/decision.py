"""Who answers a request, and why."""

from __future__ import annotations

import enum
from typing import NamedTuple

from turnout_server.vocabulary.versions import VersionKey


class Reason(enum.Enum):
    """Why a target answers."""

    __hash__ = object.__hash__  # members are single objects, and a hash by name is Python code on the hot path

    SPLIT = "SPLIT"
    """The unit's place in the route's split."""
    OVERRIDE = "OVERRIDE"
    """An override of the route matched the request."""
    PINNED = "PINNED"
    """The caller named a version or a label."""
    NAMED = "NAMED"
    """A bare model name was resolved: it means the model's champion, or without that label its newest version."""
    UNSTICKY = "UNSTICKY"
    """The request has no unit, so a target was drawn at random; or the control given, on a route with an experiment."""
    FALLBACK = "FALLBACK"
    """The assigned target could not answer, and the route's fallback could."""
    HOLDOUT = "HOLDOUT"
    """The unit is kept out of all experiments of the layer, and gets the control of this one."""
    UNENROLLED = "UNENROLLED"
    """The unit does not take part in the route's experiment, and gets its control."""


class Decision(NamedTuple):
    """All that routing said of one request."""

    route: str
    """Empty when a model was named outright."""
    target: str
    """The target that is to answer; empty likewise."""
    model: str
    version: int
    """0 where the target's label names no version."""
    reason: Reason
    assigned: str = ""
    """The target that the unit was assigned to, whoever answers; empty when a model was named outright."""
    override: int = -1
    """The override that matched, counted from 0; -1 when none did."""
    propensity: float | None = None
    """The probability with which the assigned target would be drawn, of a unit that takes part; None where nothing was
    drawn."""
    table_digest: str = ""
    """Of the route table that decided, in hexadecimal; empty when a model was named outright."""
    epoch: str = ""
    """What the route's salt, targets, weights and resolved versions were, as a digest; empty likewise."""
    available: bool = True
    """Whether the version could answer at that moment. Where it could not, the request is refused."""
    experiment: str = ""
    """The route's experiment; empty where it has none."""
    layer: str = ""
    """The experiment's layer; empty likewise."""
    enrolled: bool | None = None
    """Whether the unit takes part in the experiment; None where there is none, no unit, or an override decided."""

    @property
    def key(self) -> VersionKey:
        """The version that is to answer."""
        return VersionKey(self.model, self.version)
