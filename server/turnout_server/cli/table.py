"""A route table as people and scripts read it, from a file or from a gateway."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from turnout_server.cli import exits, output, results
from turnout_server.cli.exits import CommandError
from turnout_server.routing.changes import Arm, Copy, Listed, Rule, described
from turnout_server.routing.layer import Layer
from turnout_server.routing.route import Experiment, When
from turnout_server.routing.stored import StoredNames
from turnout_server.routing.table import RouteTable
from turnout_server.routing.text import parse
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.errors import InvalidRouteTableError

if TYPE_CHECKING:
    import turnout


def names_in(store: DirectoryStore, parsed: RouteTable) -> StoredNames:
    """Return what names mean to routes of a store; nothing of a model that was unloaded can answer."""
    models = store.snapshot().models
    versions = {name: () if one.suspended else one.versions for name, one in models.items()}
    return StoredNames(parsed, versions, {name: one.labels for name, one in models.items()})


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
        trial = _of_experiment(route.experiment)
        found.append(Listed(route.name, route.task, route.salt, arms, rules, copies, route.fallback or None, *trial))
    return found


def _of_experiment(given: turnout.Experiment | None) -> tuple[Experiment | None, Layer | None]:
    if given is None:
        return None, None
    layer = Layer(given.layer.salt, given.layer.holdout) if given.layer is not None else None
    name = given.layer.name if given.layer is not None else None
    return Experiment(given.name, given.control, name, given.buckets, given.enrolment), layer


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
        results.sentence(line)


def _more(route: Listed) -> Iterator[str]:
    for rule in route.overrides:
        yield f"{route.name}: override {_condition(rule)} -> {rule.target}"
    for copy in route.mirrors:
        yield f"{route.name}: mirror {output.percent(copy.fraction)} -> {copy.model} {copy.version}"
    if route.fallback:
        yield f"{route.name}: fallback {route.fallback}"
    if route.experiment is not None:
        yield f"{route.name}: experiment {route.experiment.name}: {described(route.experiment, route.layer)}"


def _condition(rule: Rule | When) -> str:
    parts = [f"{name}={value}" for name, value in rule.header.items()]
    if rule.unit:
        shown = ", ".join(rule.unit[:3])
        parts.append(f"unit {shown}" + (f" and {len(rule.unit) - 3} more" if len(rule.unit) > 3 else ""))
    return " and ".join(parts)


def read(place: object, text: str, store: DirectoryStore | None) -> RouteTable:
    """Read a table, and with a *store* check what it refers to.

    Raises:
        CommandError: it is wrong; the text names the *place* that it is from.
    """
    snapshot = store.snapshot() if store is not None else None
    try:
        parsed = parse(text)
        if store is not None and snapshot is not None:
            from turnout_server.gateway.reconciler import check_references

            check_references(parsed, store, snapshot)
    except InvalidRouteTableError as error:
        raise CommandError(f"{place}: {error.message}", exits.INVALID) from error
    return parsed
