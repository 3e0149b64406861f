"""A route table as people and scripts read it, from a file or from a gateway."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from turnout_server.cli import exits, output, results
from turnout_server.cli.exits import CommandError
from turnout_server.routing.changes import Arm, Copy, Listed, Rule, described
from turnout_server.routing.layer import Layer
from turnout_server.routing.laying import Laid, Rollout
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


def laid(store: DirectoryStore, parsed: RouteTable) -> Laid:
    """Lay over a table what the store has of rollouts, as a gateway does that starts now."""
    from turnout_server.gateway.overlays import Overlays

    return Overlays().lay([parsed], store.snapshot().rollouts)[0]


def left_behind(store: DirectoryStore, before: RouteTable, after: RouteTable) -> Iterator[str]:
    """Say which rollouts are in force with one table and not with another."""
    old, new = laid(store, before), laid(store, after)
    for route in old.table.overlays:
        if route not in new.table.overlays:
            why = new.left_out.get(route, "")
            yield f"note: what was decided about {route} since its table was written is not in force any more: {why}"


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
        decided = _of_rollout(route.rollout)
        fallback = route.fallback or None
        found.append(Listed(route.name, route.task, route.salt, arms, rules, copies, fallback, *trial, decided))
    return found


def _of_experiment(given: turnout.Experiment | None) -> tuple[Experiment | None, Layer | None]:
    if given is None:
        return None, None
    layer = Layer(given.layer.salt, given.layer.holdout) if given.layer is not None else None
    name = given.layer.name if given.layer is not None else None
    return Experiment(given.name, given.control, name, given.buckets, given.enrolment), layer


def plain(routes: Sequence[Listed]) -> list[Listed]:
    """Return routes that a gateway serves as their table has them: without the enrolments that were decided since."""
    found = []
    for route in routes:
        decided, experiment = route.rollout, route.experiment
        if decided is not None and decided.enrolment is not None and experiment is not None:
            said = decided.table_enrolment
            experiment = None if said is None else msgspec.structs.replace(experiment, enrolment=said)
        found.append(msgspec.structs.replace(route, experiment=experiment, rollout=None))
    return found


def _of_rollout(given: turnout.Rollout | None) -> Rollout | None:
    if given is None:
        return None
    return Rollout(
        experiment=given.experiment,
        enrolment=given.enrolment,
        table_enrolment=given.table_enrolment,
        resumes_at=given.resumes_at,
        weights=dict(given.weights),
        at=given.at.strftime("%Y-%m-%dT%H:%M:%SZ") if given.at is not None else "",
        by=given.by,
        how=given.how,
        why=given.why,
        problem=given.problem,
    )


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
    if route.rollout is not None:
        yield from (f"{route.name}: {line}" for line in rollout(route.rollout))


def rollout(decided: Rollout) -> Iterator[str]:
    """Say what has been decided about a route since its table was written, and by whom."""
    said = []
    if decided.resumes_at is not None:
        said.append(f"paused, to be resumed at enrolment {output.percent(decided.resumes_at)}")
    elif decided.enrolment is not None:
        said.append(f"enrolment {output.percent(decided.enrolment)}")
    if decided.enrolment is not None and decided.table_enrolment is not None:
        said.append(f"the route table has {output.percent(decided.table_enrolment)}")
    said += [f"{name} weighs {output.number(weight)}" for name, weight in decided.weights.items()]
    if said:
        why = f": {decided.why}" if decided.why else ""
        by = f" by {decided.by}" if decided.by else ""
        yield f"rollout: {', '.join(said)}; decided {decided.at[:16].replace('T', ' ')} UTC{by}{why}"
    if decided.problem:
        yield f"rollout: not in force: {decided.problem}"


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
            from turnout_server.gateway.tables import check_references

            check_references(parsed, store, snapshot)
    except InvalidRouteTableError as error:
        raise CommandError(f"{place}: {error.message}", exits.INVALID) from error
    return parsed
