"""Routes and what they are made of. A wrong one cannot be built."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from turnout_server.vocabulary.errors import InvalidRouteTableError
from turnout_server.vocabulary.names import Label, Name
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.units import UNIT_LIMIT

HEADER_PATTERN = r"^[0-9a-z_.-]{1,128}$"

HeaderName = Annotated[str, msgspec.Meta(pattern=HEADER_PATTERN)]
VersionSelector = Annotated[int, msgspec.Meta(ge=1)] | Label
"""A version number, or a label."""
MOST_WEIGHT = 1e9
Weight = Annotated[float, msgspec.Meta(ge=0, le=MOST_WEIGHT)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Salt = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]

BUCKETS = 1000
"""Into how many buckets a layer divides units."""
Edge = Annotated[int, msgspec.Meta(ge=0, le=BUCKETS)]
Span = tuple[Edge, Edge]
"""Buckets from the first number up to the second, which is not one of them."""
ALL_BUCKETS: tuple[Span, ...] = ((0, BUCKETS),)


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One arm of a route."""

    name: Name
    model: Name
    version: VersionSelector
    weight: Weight


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request must be like for an override to match: all that is stated here."""

    header: dict[HeaderName, str] = {}
    """Request metadata and their exact values."""
    unit: tuple[Annotated[str, msgspec.Meta(max_length=UNIT_LIMIT)], ...] = ()
    """Units, any of which matches; empty matches all."""

    def matches(self, unit: str, headers: Mapping[str, str]) -> bool:
        """Say whether a request of *unit* with *headers* (names in lower case) is meant."""
        if self.unit and unit not in self.unit:
            return False
        return all(headers.get(name) == value for name, value in self.header.items())


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sends the requests that match to one target, whatever their unit's share; the first match counts."""

    when: When
    target: Name


class Mirror(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sends a copy of a fraction of the route's requests to a model; nobody waits for the answer."""

    model: Name
    version: VersionSelector
    fraction: Fraction = 1.0


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Splits the units that take part; all others get the control."""

    name: Name
    control: Name
    """The target of units that do not take part, and of requests without a unit."""
    layer: Name | None = None
    """The layer whose units it shares with other experiments; None to have all of the route's."""
    buckets: Annotated[tuple[Span, ...], msgspec.Meta(min_length=1, max_length=BUCKETS // 2)] = ALL_BUCKETS
    """The layer's buckets whose units may take part."""
    enrolment: Fraction = 1.0
    """The share of those that do. As it grows units enter, and none leaves."""


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A public name whose traffic is split over targets."""

    salt: Salt
    targets: Annotated[tuple[Target, ...], msgspec.Meta(min_length=1, max_length=64)]
    task: str = Task.TENSORS.value
    """What the route is asked to do; `tensors` takes any model."""
    overrides: tuple[Override, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    fallback: Name | None = None
    experiment: Experiment | None = None

    def target(self, name: str) -> Target | None:
        """Return the target called *name*, if there is one."""
        return next((target for target in self.targets if target.name == name), None)


TASKS = tuple(task.value for task in Task)


def check_route(route: Route, place: str) -> None:
    """Check what types cannot say.

    Raises:
        InvalidRouteTableError: at *place* or below it: an unknown task, a salt that is no text, two targets of one
            name, an override, a fallback or a control that names no target, an override without a condition, weights
            that are all zero or not finite, an experiment's buckets that are empty or of no layer.
    """
    if route.task not in TASKS:
        raise InvalidRouteTableError(f"{place}.task", f"found {route.task!r}; allowed are {', '.join(TASKS)}")
    check_salt(route.salt, f"{place}.salt")
    names = [target.name for target in route.targets]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidRouteTableError(f"{place}.targets[{index}].name", f"{name!r} names an earlier target too")
    for index, target in enumerate(route.targets):
        if not math.isfinite(target.weight):
            raise InvalidRouteTableError(f"{place}.targets[{index}].weight", f"found {target.weight}; must be finite")
    if not any(target.weight > 0 for target in route.targets):
        raise InvalidRouteTableError(f"{place}.targets", "every weight is 0; at least one must be positive")
    known = ", ".join(names)
    for index, override in enumerate(route.overrides):
        if override.target not in names:
            raise InvalidRouteTableError(
                f"{place}.overrides[{index}].target", f"no target named {override.target!r}; the route has {known}"
            )
        if not override.when.header and not override.when.unit:
            raise InvalidRouteTableError(
                f"{place}.overrides[{index}].when", "matches every request; state a header or a unit"
            )
    for index, mirror in enumerate(route.mirrors):
        if not math.isfinite(mirror.fraction):
            raise InvalidRouteTableError(f"{place}.mirrors[{index}].fraction", "must be a number from 0 to 1")
    if route.fallback is not None and route.fallback not in names:
        raise InvalidRouteTableError(f"{place}.fallback", f"no target named {route.fallback!r}; the route has {known}")
    if route.experiment is not None:
        _check_experiment(route.experiment, names, f"{place}.experiment")


def check_salt(salt: str, place: str) -> None:
    """Check that a salt can be written as UTF-8; YAML's escapes can make what cannot.

    Raises:
        InvalidRouteTableError: at *place*, it cannot.
    """
    try:
        salt.encode()
    except UnicodeEncodeError as error:
        raise InvalidRouteTableError(place, f"found {salt!r}, with half a surrogate pair") from error


def _check_experiment(experiment: Experiment, targets: Sequence[str], place: str) -> None:
    if experiment.control not in targets:
        known = ", ".join(targets)
        raise InvalidRouteTableError(
            f"{place}.control", f"no target named {experiment.control!r}; the route has {known}"
        )
    if not math.isfinite(experiment.enrolment):
        raise InvalidRouteTableError(f"{place}.enrolment", "must be a number from 0 to 1")
    if experiment.layer is None and experiment.buckets != ALL_BUCKETS:
        raise InvalidRouteTableError(f"{place}.buckets", "are a layer's, and no layer is named")
    for index, (first, end) in enumerate(experiment.buckets):
        if first >= end:
            raise InvalidRouteTableError(
                f"{place}.buckets[{index}]", f"found [{first}, {end}]; the first number must be less than the second"
            )
