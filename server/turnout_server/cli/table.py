"""A route table as people and scripts read it, from a file or from a gateway, and what changes in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from turnout_server.cli import output
from turnout_server.routing.decide import Names, answers_for
from turnout_server.routing.route import When
from turnout_server.routing.split import shares
from turnout_server.routing.stored import StoredNames
from turnout_server.routing.table import RouteTable
from turnout_server.store.store import DirectoryStore

if TYPE_CHECKING:
    import turnout


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


def names_in(store: DirectoryStore, parsed: RouteTable) -> StoredNames:
    """Return what names mean to routes of a store; nothing of a model that was unloaded can answer."""
    models = store.snapshot().models
    versions = {name: () if one.suspended else one.versions for name, one in models.items()}
    return StoredNames(parsed, versions, {name: one.labels for name, one in models.items()})


def from_table(table: RouteTable, names: Names | None = None) -> list[Listed]:
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


def from_gateway(table: turnout.RouteTable) -> list[Listed]:
    """List the routes that a gateway serves."""
    found = []
    for route in table:
        total = sum(target.weight for target in route.targets)
        arms = tuple(
            Arm(one.name, one.model, one.version, one.weight, one.weight / total if total else 0.0, one.serving_version)
            for one in route.targets
        )
        rules = tuple(Rule(one.target, dict(one.headers), one.units) for one in route.overrides)
        copies = tuple(Copy(one.model, one.version, one.fraction) for one in route.mirrors)
        found.append(Listed(route.name, route.task, route.salt, arms, rules, copies, route.fallback or None))
    return found


def show(routes: Sequence[Listed]) -> None:
    """Print routes as a table, and what else they do below it."""
    output.table(
        ("route", "task", "target", "share", "model", "version", "serves"),
        [
            (
                route.name if index == 0 else "",
                route.task if index == 0 else "",
                arm.name,
                output.percent(arm.share),
                arm.model,
                arm.version,
                "" if str(arm.resolved) == arm.version else arm.resolved or "nothing",
            )
            for route in routes
            for index, arm in enumerate(route.targets)
        ],
        right=("share",),
    )
    more = [line for route in routes for line in _more(route)]
    if more:
        output.say()
    for line in more:
        output.say(output.plain(line))


def _more(route: Listed) -> Iterator[str]:
    for rule in route.overrides:
        yield f"{route.name}: override {_condition(rule)} -> {rule.target}"
    for copy in route.mirrors:
        yield f"{route.name}: mirror {output.percent(copy.fraction)} -> {copy.model} {copy.version}"
    if route.fallback:
        yield f"{route.name}: fallback {route.fallback}"


def _condition(rule: Rule | When) -> str:
    parts = [f"{name}={value}" for name, value in rule.header.items()]
    if rule.unit:
        shown = ", ".join(rule.unit[:3])
        parts.append(f"unit {shown}" + (f" and {len(rule.unit) - 3} more" if len(rule.unit) > 3 else ""))
    return " and ".join(parts)


def changes(before: Sequence[Listed], after: Sequence[Listed]) -> list[str]:
    """Say in sentences what a new table changes; empty where it changes nothing."""
    old, new = {route.name: route for route in before}, {route.name: route for route in after}
    lines = [f"- {name}: the route goes" for name in sorted(old.keys() - new.keys())]
    for name in sorted(new.keys() - old.keys()):
        arms = ", ".join(f"{arm.name} {output.percent(arm.share)}" for arm in new[name].targets)
        lines.append(f"+ {name}: a new route ({new[name].task}: {arms})")
    for name in sorted(old.keys() & new.keys()):
        lines += [f"~ {name}: {change}" for change in _route_changes(old[name], new[name])]
    return lines


def _route_changes(old: Listed, new: Listed) -> Iterator[str]:
    if old.task != new.task:
        yield f"task {old.task} -> {new.task}"
    if old.salt != new.salt:
        yield "a new salt: every unit is assigned anew"
    before, after = {arm.name: arm for arm in old.targets}, {arm.name: arm for arm in new.targets}
    for name in [*before, *(name for name in after if name not in before)]:
        was, will = before.get(name), after.get(name)
        if was is None and will is not None:
            yield f"{name}: a new target, {will.model} {will.version}, {output.percent(will.share)}"
        elif was is not None and will is None:
            yield f"{name}: the target goes ({output.percent(was.share)})"
        elif was is not None and will is not None:
            if (was.model, was.version) != (will.model, will.version):
                yield f"{name}: {was.model} {was.version} -> {will.model} {will.version}"
            if abs(was.share - will.share) > 1e-12:
                yield f"{name}: share {output.percent(was.share)} -> {output.percent(will.share)}"
    for what in ("overrides", "mirrors", "fallback"):
        was_value, will_value = getattr(old, what), getattr(new, what)
        if was_value != will_value:
            yield f"{what}: {_counted(was_value)} -> {_counted(will_value)}"


def _counted(value: object) -> str:
    return str(len(value)) if isinstance(value, tuple) else str(value or "none")
