"""`turnout assign`: whom a unit gets, worked out offline."""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from turnout_server.cli import exits, options, output
from turnout_server.cli.exits import CommandError
from turnout_server.routing.route import Route
from turnout_server.routing.split import shares, uniform
from turnout_server.routing.table import Assignment, CompiledRoute
from turnout_server.routing.text import parse
from turnout_server.vocabulary.decision import Reason
from turnout_server.vocabulary.errors import InvalidRouteTableError


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
    compiled, labels = _route(route, store, table)
    headers = {name.lower(): value for name, value in options.pairs(header or [], "--header").items()}
    piped = "-" in units
    counts: Counter[str] = Counter()
    found: list[tuple[str, Assignment]] = []
    for unit in _units(units):
        assignment = compiled.assign(unit, headers, random.random())
        counts[assignment.target.name] += 1
        if not piped or json:
            found.append((unit, assignment))
    if json:
        output.json(_document(compiled, found, counts, labels))
    elif len(units) == 1 and not piped:
        _explain(compiled, *found[0], labels)
    else:
        if not piped:
            output.table(
                ("unit", "target", "model", "version", "reason"),
                [(unit, a.target.name, a.target.model, a.target.version, a.reason.value) for unit, a in found],
            )
            output.say()
        _count(compiled, counts)


def _route(name: str, store: Path, table: Path | None) -> tuple[CompiledRoute, Mapping[str, Mapping[str, int]]]:
    """Return the route, and the labels of the store (none where the table comes from a file)."""
    labels: Mapping[str, Mapping[str, int]] = {}
    if table is not None:
        text, place = options.read_text(table), str(table)
    else:
        directory = options.opened(store)
        found, place = directory.routes_text(), f"{store}/routes.yaml"
        if found is None:
            raise CommandError(f"{place}: there is no route table; --routes names another one", exits.NOT_FOUND)
        text = found
        labels = {model: state.labels for model, state in directory.snapshot().models.items()}
    try:
        parsed = parse(text)
    except InvalidRouteTableError as error:
        raise CommandError(f"{place}: {error.message}", exits.INVALID) from error
    compiled = parsed.get(name)
    if compiled is None:
        known = ", ".join(one.name for one in parsed) or "none"
        raise CommandError(f"{place}: there is no route {name!r}; it has {known}", exits.NOT_FOUND)
    return compiled, labels


def _units(given: Sequence[str]) -> Iterator[str]:
    for unit in given:
        if unit == "-":
            yield from (line.rstrip("\r\n") for line in sys.stdin)
        else:
            yield unit


def _why(assignment: Assignment) -> str:
    match assignment.reason:
        case Reason.OVERRIDE:
            return f"override {assignment.override_index} matches the request"
        case Reason.UNSTICKY:
            return "there is no unit, so each request is drawn at random by weight"
        case _:
            return "of all targets it has the lowest score for this unit"


def _explain(
    compiled: CompiledRoute, unit: str, assignment: Assignment, labels: Mapping[str, Mapping[str, int]]
) -> None:
    target = assignment.target
    number = _resolved(assignment, labels)
    shown = f"{target.version}" + (f" = {number}" if number is not None and number != target.version else "")
    output.say(output.plain(f"{compiled.name}/{target.name} -> {target.model} {shown} ({assignment.reason.value})"))
    output.say(f"{_why(assignment)}\n")
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
                "<-" if arm["target"] == target.name else "",
            )
            for arm in _arms(compiled.route, unit)
        ],
        right=("weight", "share", "score"),
    )


def _count(compiled: CompiledRoute, counts: Counter[str]) -> None:
    total = counts.total()
    share = shares(compiled.route.targets)
    output.table(
        ("target", "units", "found", "expected"),
        [
            (name, counts[name], output.percent(counts[name] / total) if total else "", output.percent(share[name]))
            for name in share
        ],
        right=("units", "found", "expected"),
    )


def _arms(route: Route, unit: str) -> list[dict[str, Any]]:
    """Return each target with its share and, where the unit has one, its score: -ln(u) / weight; the lowest wins."""
    share = shares(route.targets)
    return [
        {
            "target": one.name,
            "model": one.model,
            "version": one.version,
            "weight": one.weight,
            "share": share[one.name],
            "score": -math.log(uniform(route.salt, one.name, unit)) / one.weight if one.weight > 0 and unit else None,
        }
        for one in route.targets
    ]


def _resolved(assignment: Assignment, labels: Mapping[str, Mapping[str, int]]) -> int | None:
    version = assignment.target.version
    return version if isinstance(version, int) else labels.get(assignment.target.model, {}).get(version)


def _document(
    compiled: CompiledRoute,
    found: Sequence[tuple[str, Assignment]],
    counts: Counter[str],
    labels: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    return {
        "route": compiled.name,
        "counts": {target.name: counts[target.name] for target in compiled.route.targets},
        "assignments": [
            {
                "unit": unit,
                "target": assignment.target.name,
                "model": assignment.target.model,
                "version": assignment.target.version,
                "resolved": _resolved(assignment, labels),
                "reason": assignment.reason.value,
                "override": assignment.override_index if assignment.override_index >= 0 else None,
                **({"targets": _arms(compiled.route, unit)} if len(found) == 1 else {}),
            }
            for unit, assignment in found
        ],
    }
