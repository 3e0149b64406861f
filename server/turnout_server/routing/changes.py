"""What another route table changes: in sentences, and for whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from turnout_server.routing.decide import Names, answers_for
from turnout_server.routing.route import Route
from turnout_server.routing.split import Splitter, shares
from turnout_server.routing.table import RouteTable


class Arm(msgspec.Struct, frozen=True):
    """One target of a route."""

    name: str
    model: str
    version: str
    """A version number or a label."""
    weight: float
    share: float
    """0 to 1."""
    resolved: int | None = None
    """The version that serves it now, where that is known."""


class Rule(msgspec.Struct, frozen=True):
    """One override."""

    target: str
    header: Mapping[str, str] = {}
    unit: tuple[str, ...] = ()


class Copy(msgspec.Struct, frozen=True):
    """One mirror."""

    model: str
    version: str
    fraction: float


class Listed(msgspec.Struct, frozen=True):
    """One route."""

    name: str
    task: str
    salt: str
    targets: tuple[Arm, ...]
    overrides: tuple[Rule, ...] = ()
    mirrors: tuple[Copy, ...] = ()
    fallback: str | None = None


def listed(table: RouteTable, names: Names | None = None) -> list[Listed]:
    """List a table's routes; with *names*, say which version answers for each target."""
    found = []
    for compiled in table:
        route = compiled.route
        share = shares(route.targets)
        arms = []
        for one in route.targets:
            number = answers_for(names, one) if names is not None else None
            arms.append(Arm(one.name, one.model, str(one.version), one.weight, share[one.name], number))
        rules = tuple(Rule(one.target, one.when.header, one.when.unit) for one in route.overrides)
        copies = tuple(Copy(one.model, str(one.version), one.fraction) for one in route.mirrors)
        found.append(Listed(compiled.name, route.task, route.salt, tuple(arms), rules, copies, route.fallback))
    return found


def changes(before: Sequence[Listed], after: Sequence[Listed]) -> list[str]:
    """Say in sentences what a new table changes; empty where it changes nothing."""
    old, new = {route.name: route for route in before}, {route.name: route for route in after}
    lines = [f"- {name}: the route goes" for name in sorted(old.keys() - new.keys())]
    for name in sorted(new.keys() - old.keys()):
        arms = ", ".join(f"{arm.name} {_percent(arm.share)}" for arm in new[name].targets)
        lines.append(f"+ {name}: a new route ({new[name].task}: {arms})")
    for name in sorted(old.keys() & new.keys()):
        lines += [f"~ {name}: {change}" for change in _route_changes(old[name], new[name])]
    return lines


def moves(before: Route, after: Route, units: Iterable[str]) -> dict[tuple[str, str], int]:
    """Count which of *units* go from one target to another, by both targets' names, most first."""
    old, new = Splitter(before), Splitter(after)
    counted = Counter((old.pick(unit).name, new.pick(unit).name) for unit in units)
    return {pair: count for pair, count in counted.most_common() if pair[0] != pair[1]}


def _route_changes(old: Listed, new: Listed) -> Iterator[str]:
    if old.task != new.task:
        yield f"task {old.task} -> {new.task}"
    if old.salt != new.salt:
        yield "a new salt: every unit is assigned anew"
    before, after = {arm.name: arm for arm in old.targets}, {arm.name: arm for arm in new.targets}
    for name in [*before, *(name for name in after if name not in before)]:
        was, will = before.get(name), after.get(name)
        if was is None and will is not None:
            yield f"{name}: a new target, {will.model} {will.version}, {_percent(will.share)}"
        elif was is not None and will is None:
            yield f"{name}: the target goes ({_percent(was.share)})"
        elif was is not None and will is not None:
            if (was.model, was.version) != (will.model, will.version):
                yield f"{name}: {was.model} {was.version} -> {will.model} {will.version}"
            if abs(was.share - will.share) > 1e-12:
                yield f"{name}: share {_percent(was.share)} -> {_percent(will.share)}"
    for what in ("overrides", "mirrors", "fallback"):
        was_value, will_value = getattr(old, what), getattr(new, what)
        if was_value != will_value:
            yield f"{what}: {_counted(was_value)} -> {_counted(will_value)}"


def _counted(value: object) -> str:
    return str(len(value)) if isinstance(value, tuple) else str(value or "none")


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"
