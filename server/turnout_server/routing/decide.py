"""Who answers: the one place that says so.

The data plane asks before each request, `Assign` and `turnout assign` to explain, readiness, the catalogue and `turnout
routes show` to look. What is available at a moment, and what labels mean, is handed in as `Names`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from turnout_server.routing.route import Target
from turnout_server.routing.table import CompiledRoute, RouteTable
from turnout_server.vocabulary.ask import Ask
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.errors import (
    LabelNotFoundError,
    ModelNotFoundError,
    RouteNotFoundError,
    TaskMismatchError,
    VersionNotFoundError,
    VersionUnavailableError,
)
from turnout_server.vocabulary.names import CHAMPION, is_version_number
from turnout_server.vocabulary.versions import VersionKey

_ENROLLED = {Reason.SPLIT: True, Reason.HOLDOUT: False, Reason.UNENROLLED: False}
"""Whether a unit takes part that was assigned for that reason."""
_MOST_DIGITS = 18
"""Of a version number: the largest that fits a signed 64-bit integer in full."""


class Names(Protocol):
    """What names mean at one moment."""

    @property
    def table(self) -> RouteTable:
        """The route table."""

    def key_of(self, model: str, selector: int | str) -> VersionKey | None:
        """Return the version that a number or a label stands for; None for a label that is gone."""

    def epoch_of(self, route: str) -> str:
        """Return the digest of a route's salt, targets, weights and resolved versions."""

    def stored(self, model: str) -> Sequence[int]:
        """Return the versions that the store has of *model*, ascending; empty when there is no such model."""

    def newest(self, model: str) -> int:
        """Return the newest version of *model* that is available; 0 when there is none."""

    def is_available(self, key: VersionKey) -> bool:
        """Say whether a version could answer now."""

    def state_of(self, key: VersionKey) -> str:
        """Say where a version that is not available is, in words."""


def decide(names: Names, ask: Ask, draw: float) -> Decision:
    """Return who answers *ask*.

    Args:
        names: what names mean at this moment.
        ask: whom the caller asks.
        draw: uniform in [0, 1), used only where there is no unit to stick to.

    Returns:
        The decision. Where nobody could answer, it says who was to, and is not `available`.

    Raises:
        RouteNotFoundError, ModelNotFoundError, VersionNotFoundError, LabelNotFoundError: there is no such thing.
        TaskMismatchError: the route does another task.
    """
    if not ask.version:
        route = names.table.get(ask.name)
        if route is not None:
            if ask.task is not None and route.route.task != ask.task:
                raise TaskMismatchError(ask.name, route.route.task, ask.task)
            target, reason, override = route.assign(ask.unit, ask.headers, draw)
            return _served(names, route, target, reason, override)
    return _named(names, ask.name, ask.version)


def candidates(names: Names, name: str, version: str = "") -> tuple[Decision, ...]:
    """Return every decision that requests for *name* (and *version*) may meet, but for why their target is assigned.

    For a route: one for each of its targets, the heaviest first.

    Raises:
        RouteNotFoundError, ModelNotFoundError, VersionNotFoundError, LabelNotFoundError: there is no such thing.
    """
    route = None if version else names.table.get(name)
    if route is None:
        return (_named(names, name, version),)
    by_weight = sorted(route.route.targets, key=lambda target: -target.weight)
    return tuple(_served(names, route, target, Reason.SPLIT, -1) for target in by_weight)


def answers_for(names: Names, target: Target) -> int:
    """Return the version that answers for *target* itself now; 0 when none does."""
    key = names.key_of(target.model, target.version)
    return key.version if key is not None and names.is_available(key) else 0


def refused(names: Names, route: CompiledRoute) -> tuple[tuple[Decision, VersionUnavailableError], ...]:
    """Return the decisions on a route's requests that are refused now, with their errors, the heaviest target first.

    Each target that the split gives requests to has to be available, or else the fallback; so has an experiment's
    control. What only overrides name does not count.
    """
    control = route.control.name if route.control is not None else ""
    drawn = [one for one in candidates(names, route.name) if one.propensity or one.assigned == control]
    return tuple((decision, unavailable(names, decision)) for decision in drawn if not decision.available)


def unavailable(names: Names, decision: Decision) -> VersionUnavailableError:
    """Return the error that a request gets whose *decision* is not available."""
    route = names.table.get(decision.route)
    if not decision.version and route is not None:
        target = route.route.target(decision.assigned)
        return VersionUnavailableError(decision.model, target.version if target else "", "no such label")
    return VersionUnavailableError(decision.model, decision.version, names.state_of(decision.key))


def _served(names: Names, route: CompiledRoute, assigned: Target, reason: Reason, override: int) -> Decision:
    """Return who answers for the target that a request was assigned to."""
    target = assigned
    key = names.key_of(target.model, target.version)
    available = key is not None and names.is_available(key)
    answers = reason
    if not available and route.fallback is not None and route.fallback is not assigned:
        other = names.key_of(route.fallback.model, route.fallback.version)
        if other is not None and names.is_available(other):
            target, key, answers, available = route.fallback, other, Reason.FALLBACK, True
    version = 0 if key is None else key[1]
    epoch, digest = names.epoch_of(route.name), names.table.digest
    return _decision(
        route, target.name, target.model, version, answers, assigned.name, override, reason, digest, epoch, available
    )


@lru_cache(maxsize=4096)
def _decision(
    route: CompiledRoute,
    target: str,
    model: str,
    version: int,
    reason: Reason,
    assigned: str,
    override: int,
    drawn: Reason,
    digest: str,
    epoch: str,
    available: bool,
) -> Decision:
    """Return a decision: the same object each time, since few are taken and each is taken often."""
    experiment = route.route.experiment
    was_drawn = drawn is Reason.SPLIT or (drawn is Reason.UNSTICKY and experiment is None)
    return Decision(
        route.name,
        target,
        model,
        version,
        reason,
        assigned,
        override,
        route.propensities[assigned] if was_drawn else None,
        digest,
        epoch,
        available,
        experiment.name if experiment is not None else "",
        (experiment.layer or "") if experiment is not None else "",
        _ENROLLED.get(drawn) if experiment is not None else None,
    )


def _named(names: Names, name: str, version: str) -> Decision:
    """Return who answers a request that names a model, or a route with a version."""
    model = _model_of(names, name)
    stored = names.stored(model)
    if not version:
        champion = names.key_of(model, CHAMPION)
        if champion is not None:
            # It moves when people move it. That it cannot answer gives nobody else its traffic.
            return Decision("", "", model, champion.version, Reason.NAMED, available=names.is_available(champion))
        newest = names.newest(model)
        number = newest or (stored[-1] if stored else 0)
        if not number:
            raise RouteNotFoundError(name)
        return Decision("", "", model, number, Reason.NAMED, available=bool(newest))
    if is_version_number(version):
        key = VersionKey(model, int(version[:_MOST_DIGITS]))
        available = names.is_available(key)
        if key.version not in stored and not available:
            raise VersionNotFoundError(model, version[:32])
        return Decision("", "", model, key.version, Reason.PINNED, available=available)
    labelled = names.key_of(model, version)
    if labelled is None:
        raise LabelNotFoundError(model, version[:64])
    return Decision("", "", model, labelled.version, Reason.PINNED, available=names.is_available(labelled))


def _model_of(names: Names, name: str) -> str:
    """Return the model called *name*, or the only model of the route called so."""
    if names.stored(name) or names.newest(name):
        return name
    route = names.table.get(name)
    if route is None:
        raise RouteNotFoundError(name)
    models = {target.model for target in route.route.targets}
    if len(models) > 1:
        raise ModelNotFoundError(name)
    return models.pop()
