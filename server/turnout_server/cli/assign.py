"""`turnout assign`: whom a unit gets, worked out offline."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from turnout_server.cli import exits, options, output
from turnout_server.cli.exits import CommandError
from turnout_server.cli.table import laid, names_in, rollout
from turnout_server.routing.changes import spans
from turnout_server.routing.decide import Names, decide
from turnout_server.routing.laying import Rollout, rollout_of
from turnout_server.routing.split import shares
from turnout_server.routing.stored import StoredNames
from turnout_server.routing.table import CompiledRoute
from turnout_server.routing.text import parse
from turnout_server.vocabulary.ask import Ask
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.errors import InvalidRouteTableError


class Step(NamedTuple):
    """One draw on the way into an experiment."""

    draw: str
    found: float
    wanted: str
    """What the draw has to be for the unit to take part."""
    passes: bool

    @property
    def shown(self) -> str:
        """The draw as text."""
        return str(self.found) if isinstance(self.found, int) else f"{self.found:.6f}"


def assign(
    route: options.RouteArgument,
    units: Annotated[list[str], typer.Argument(metavar="UNIT...", help="Units; - reads them from stdin, one a line.")],
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="NAME=VALUE", help="Request metadata; may be repeated."),
    ] = None,
    store: options.Store = options.DEFAULT_STORE,
    table: Annotated[
        Path | None, typer.Option("--routes", metavar="FILE", help="A route table to use in place of the store's.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Say which target of a route each unit gets, and why; nothing is asked but the route table.

    One unit is explained; of several, each is listed; units from stdin are only counted by target.
    """
    compiled, names = _route(route, store, table)
    headers = {name.lower(): value for name, value in options.pairs(header or [], "--header").items()}
    piped = "-" in units
    counts: Counter[str] = Counter()
    found: list[tuple[str, Decision]] = []
    for unit in _units(units):
        decision = decide(names, Ask(name=route, unit=unit, headers=headers), random.random())
        counts[decision.target] += 1
        if not piped or json:
            found.append((unit, decision))
    if json:
        output.json(_document(compiled, found, counts, rollout_of(names.table, route)))
    elif len(units) == 1 and not piped:
        _explain(compiled, *found[0], rollout_of(names.table, route))
    else:
        if not piped:
            output.table(
                ("unit", "target", "model", "version", "reason"),
                [(unit, d.target, d.model, _selector(compiled, d), d.reason.value) for unit, d in found],
            )
            output.say()
        _count(compiled, counts)


def _route(name: str, store: Path, table: Path | None) -> tuple[CompiledRoute, Names]:
    """Return the route, and what names mean in the store (unknown where the table comes from a file)."""
    directory = None
    if table is not None:
        text, place = options.read_text(table), str(table)
    else:
        directory = options.opened(store)
        found, place = directory.routes_text(), f"{store}/routes.yaml"
        if found is None:
            raise CommandError(f"{place}: there is no route table; --routes names another one", exits.NOT_FOUND)
        text = found
    try:
        parsed = parse(text)
    except InvalidRouteTableError as error:
        raise CommandError(f"{place}: {error.message}", exits.INVALID) from error
    if directory is not None:
        parsed = laid(directory, parsed).table
    compiled = parsed.get(name)
    if compiled is None:
        known = ", ".join(one.name for one in parsed) or "none"
        raise CommandError(f"{place}: there is no route {name!r}; it has {known}", exits.NOT_FOUND)
    return compiled, StoredNames(parsed) if directory is None else names_in(directory, parsed)


def _units(given: Sequence[str]) -> Iterator[str]:
    for unit in given:
        if unit == "-":
            yield from (line.rstrip("\r\n") for line in sys.stdin)
        else:
            yield unit


def _why(decision: Decision) -> str:
    why = f"it is the control of the experiment {decision.experiment}, and"
    match decision.reason:
        case Reason.OVERRIDE:
            return f"override {decision.override} matches the request"
        case Reason.HOLDOUT:
            return f"{why} the layer {decision.layer} keeps the unit out of all of its experiments"
        case Reason.UNENROLLED:
            return f"{why} the unit does not take part"
        case Reason.UNSTICKY if decision.experiment:
            return f"{why} there is no unit that could take part"
        case Reason.UNSTICKY:
            return "there is no unit, so each request is drawn at random by weight"
        case Reason.FALLBACK:
            return (
                f"{decision.assigned} was assigned, but nothing in the store answers for it now; this is the fallback"
            )
        case _:
            return "of all targets it has the lowest score for this unit"


def _explain(compiled: CompiledRoute, unit: str, decision: Decision, decided: Rollout | None) -> None:
    selector = _selector(compiled, decision)
    shown = f"{selector}" + (f" = {decision.version}" if decision.version and decision.version != selector else "")
    output.say(output.plain(f"{compiled.name}/{decision.target} -> {decision.model} {shown} ({decision.reason.value})"))
    output.say(_why(decision))
    for line in rollout(decided) if decided is not None else ():
        output.say(output.plain(line))
    output.say()
    steps = _steps(compiled, unit)
    if steps:
        output.table(
            ("draw", "found", "to take part", ""),
            [(step.draw, step.shown, step.wanted, "yes" if step.passes else "no") for step in steps],
            right=("found",),
        )
        output.say()
    output.table(
        ("target", "model", "version", "weight", "share", "score", ""),
        [
            (
                arm["target"],
                arm["model"],
                arm["version"],
                output.number(arm["weight"]),
                output.percent(arm["share"]),
                "" if arm["score"] is None else f"{arm['score']:.6f}",
                "<-" if arm["target"] == decision.target else "",
            )
            for arm in _arms(compiled, unit)
        ],
        right=("weight", "share", "score"),
    )


def _count(compiled: CompiledRoute, counts: Counter[str]) -> None:
    total = counts.total()
    share = compiled.expected()
    output.table(
        ("target", "units", "found", "expected"),
        [
            (name, counts[name], output.percent(counts[name] / total) if total else "", output.percent(share[name]))
            for name in share
        ],
        right=("units", "found", "expected"),
    )


def _steps(compiled: CompiledRoute, unit: str) -> list[Step]:
    """Return what decides whether the unit takes part in the route's experiment, in order; nothing without either."""
    experiment, gate, draws, layer = compiled.route.experiment, compiled.gate, compiled.draws(unit), compiled.layer
    if experiment is None or gate is None or draws is None:
        return []
    steps = []
    if layer is not None and draws.holdout is not None and draws.bucket is not None:
        of = f"of layer {experiment.layer}"
        kept = draws.holdout < layer.holdout
        steps.append(Step(f"holdout {of}", draws.holdout, f"at least {output.number(layer.holdout)}", not kept))
        steps.append(Step(f"bucket {of}", draws.bucket, spans(experiment), gate.has(draws.bucket)))
    enrolled = draws.enrolment < experiment.enrolment
    steps.append(Step("enrolment", draws.enrolment, f"below {output.number(experiment.enrolment)}", enrolled))
    return steps


def _arms(compiled: CompiledRoute, unit: str) -> list[dict[str, Any]]:
    """Return each target with its share and, where the unit has one, its score: -ln(u) / weight; the lowest wins."""
    share, scores = shares(compiled.route.targets), compiled.scores(unit)
    return [
        {
            "target": one.name,
            "model": one.model,
            "version": one.version,
            "weight": one.weight,
            "share": share[one.name],
            "score": scores.get(one.name),
        }
        for one in compiled.route.targets
    ]


def _selector(compiled: CompiledRoute, decision: Decision) -> int | str:
    """Return the version or label that the route table has for the target that answers."""
    target = compiled.route.target(decision.target)
    assert target is not None, "a decision names a target of its route"
    return target.version


def _explained(compiled: CompiledRoute, unit: str) -> dict[str, Any]:
    return {"draws": [step._asdict() for step in _steps(compiled, unit)], "targets": _arms(compiled, unit)}


def _document(
    compiled: CompiledRoute, found: Sequence[tuple[str, Decision]], counts: Counter[str], decided: Rollout | None
) -> dict[str, Any]:
    return {
        "route": compiled.name,
        "rollout": decided,
        "counts": {target.name: counts[target.name] for target in compiled.route.targets},
        "assignments": [
            {
                "unit": unit,
                "target": decision.target,
                "assigned": decision.assigned,
                "model": decision.model,
                "version": _selector(compiled, decision),
                "resolved": decision.version or None,
                "reason": decision.reason.value,
                "override": decision.override if decision.override >= 0 else None,
                "propensity": decision.propensity,
                "experiment": decision.experiment or None,
                "layer": decision.layer or None,
                "enrolled": decision.enrolled,
                **(_explained(compiled, unit) if len(found) == 1 else {}),
            }
            for unit, decision in found
        ],
    }
