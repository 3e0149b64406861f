"""Exposures: which records count for an experiment, and for which of its arms."""

from __future__ import annotations

from typing import NamedTuple

from turnout_server.vocabulary.decision import Decision, Reason

_DRAWN = (Reason.SPLIT, Reason.FALLBACK)


class Arm(NamedTuple):
    """What units are exposed to."""

    route: str
    experiment: str
    """The route's; empty where the route table has none. One may be asked of the route all the same."""
    target: str
    """The one that units were assigned to, whoever answered."""


def arm_of(decision: Decision, unit: str) -> Arm | None:
    """Return what a request of *unit* was exposed to by a decision; None where it is no exposure.

    It is one where the split drew the target, for a unit that takes part. The SQL of an analysis says the same, and so
    does `engine/src/journal/exposures.rs`.
    """
    if unit and decision.reason in _DRAWN and decision.enrolled is not False:
        return Arm(decision.route, decision.experiment, decision.assigned)
    return None
