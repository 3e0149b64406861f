"""Routes and what they are made of. A wrong one cannot be built."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
Weight = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


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


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A public name whose traffic is split over targets."""

    salt: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    targets: Annotated[tuple[Target, ...], msgspec.Meta(min_length=1, max_length=64)]
    task: str = Task.TENSORS.value
    """What the route is asked to do; `tensors` takes any model."""
    overrides: tuple[Override, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    fallback: Name | None = None

    def target(self, name: str) -> Target | None:
        """Return the target called *name*, if there is one."""
        return next((target for target in self.targets if target.name == name), None)


TASKS = tuple(task.value for task in Task)


def check_route(route: Route, place: str) -> None:
    """Check what types cannot say.

    Raises:
        InvalidRouteTableError: at *place* or below it: an unknown task, a salt that is no text, two targets of one
            name, an override or a fallback that names no target, an override without a condition, weights that are
            all zero or not finite.
    """
    if route.task not in TASKS:
        raise InvalidRouteTableError(f"{place}.task", f"found {route.task!r}; allowed are {', '.join(TASKS)}")
    if not _is_text(route.salt):
        raise InvalidRouteTableError(f"{place}.salt", f"found {route.salt!r}, with half a surrogate pair")
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


def _is_text(found: str) -> bool:
    """Say whether *found* can be written as UTF-8; YAML's escapes can make what cannot."""
    try:
        found.encode()
    except UnicodeEncodeError:
        return False
    return True
