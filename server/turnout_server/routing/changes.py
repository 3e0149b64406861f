"""What another route table changes: in sentences, and for whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from turnout_server.routing.decide import Names, answers_for
from turnout_server.routing.layer import Layer
from turnout_server.routing.laying import Rollout, rollout_of
from turnout_server.routing.route import Experiment
from turnout_server.routing.split import shares
from turnout_server.routing.table import CompiledRoute, RouteTable


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
    experiment: Experiment | None = None
    layer: Layer | None = None
    """The experiment's."""
    rollout: Rollout | None = None
    """What has been decided about it since the table was written; it is in all of the above."""


def listed(table: RouteTable, names: Names | None = None, left_out: Mapping[str, str] | None = None) -> list[Listed]:
    """List a table's routes.

    Args:
        table: with overlays or without.
        names: to say which version answers for each target.
        left_out: why what was decided about a route is not in force, by its name.
    """
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
        found.append(
            Listed(
                compiled.name,
                route.task,
                route.salt,
                tuple(arms),
                rules,
                copies,
                route.fallback,
                route.experiment,
                compiled.layer,
                rollout_of(table, compiled.name, (left_out or {}).get(compiled.name, "")),
            )
        )
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


def moves(before: CompiledRoute, after: CompiledRoute, units: Iterable[str]) -> dict[tuple[str, str], int]:
    """Count which of *units* go from one target to another, overrides aside, by both targets' names, most first."""
    counted = Counter((before.place(unit).target.name, after.place(unit).target.name) for unit in units)
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
    yield from _experiment_changes(old, new)


def _experiment_changes(old: Listed, new: Listed) -> Iterator[str]:
    was, will = old.experiment, new.experiment
    if was is None or will is None or was.name != will.name:
        if was is not None:
            yield f"experiment {was.name}: it goes"
        if will is not None:
            yield f"experiment {will.name}: a new one ({described(will, new.layer)})"
        return
    place = f"experiment {will.name}"
    if was.control != will.control:
        yield f"{place}: control {was.control} -> {will.control}"
    if was.layer != will.layer:
        yield f"{place}: layer {was.layer or 'none'} -> {will.layer or 'none'}"
    elif old.layer is not None and new.layer is not None:
        if old.layer.salt != new.layer.salt:
            yield f"{place}: a new salt of layer {will.layer}: other units take part"
        if old.layer.holdout != new.layer.holdout:
            yield f"{place}: holdout {_percent(old.layer.holdout)} -> {_percent(new.layer.holdout)}"
    if was.buckets != will.buckets:
        yield f"{place}: buckets {spans(was)} -> {spans(will)}"
    if was.enrolment != will.enrolment:
        yield f"{place}: enrolment {_percent(was.enrolment)} -> {_percent(will.enrolment)}"


def described(experiment: Experiment, layer: Layer | None) -> str:
    """Say who takes part in an experiment, and what the others get."""
    where = f"buckets {spans(experiment)} of layer {experiment.layer}, " if layer is not None else ""
    holdout = f"holdout {_percent(layer.holdout)}, " if layer is not None and layer.holdout else ""
    return f"{where}{holdout}enrolment {_percent(experiment.enrolment)}, others get {experiment.control}"


def spans(experiment: Experiment) -> str:
    """Return an experiment's buckets as text: the first and the last of each span."""
    return ", ".join(f"{first}-{end - 1}" if end - first > 1 else str(first) for first, end in experiment.buckets)


def _counted(value: object) -> str:
    return str(len(value)) if isinstance(value, tuple) else str(value or "none")


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"
