"""A route table with what has been decided about its routes since laid over it, and how that shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from turnout_server.routing.overlay import Overlay, overlaid, why_not
from turnout_server.routing.table import RouteTable

NO_ROUTE = "the route table has no such route"


class Laid(NamedTuple):
    """A table with overlays."""

    table: RouteTable
    """The very table that was given where no overlay applies."""
    left_out: Mapping[str, str]
    """Why an overlay does not apply, by its route."""


class Rollout(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has been decided about a route, for those who look at it."""

    experiment: str = ""
    enrolment: float | None = None
    """The one in force; None where it is the table's."""
    table_enrolment: float | None = None
    """What the table says; None where it has no experiment."""
    resumes_at: float | None = None
    """While the experiment is paused: the enrolment that it goes back to."""
    weights: Mapping[str, float] = {}
    """Those in force, by target; empty where they are the table's."""
    at: str = ""
    by: str = ""
    how: str = ""
    why: str = ""
    problem: str = ""
    """Why what the store has of it is not in force; then an earlier one is, or the table alone."""


def lay(table: RouteTable, overlays: Mapping[str, Overlay]) -> Laid:
    """Lay *overlays*, by their routes, over *table*; each for itself, so that one that does not fit spoils no other."""
    routes = {compiled.name: compiled.route for compiled in table}
    taken = {route.experiment.name: name for name, route in routes.items() if route.experiment is not None}
    applied: dict[str, Overlay] = {}
    left_out: dict[str, str] = {}
    for name, overlay in sorted(overlays.items()):
        route = routes.get(name)
        problem = NO_ROUTE if route is None else why_not(route, overlay)
        if not problem and overlay.experiment and taken.setdefault(overlay.experiment, name) != name:
            problem = f"route {taken[overlay.experiment]!r} has an experiment {overlay.experiment!r}, too"
        if problem or route is None:
            left_out[name] = problem
        else:
            applied[name] = overlay
            routes[name] = overlaid(route, overlay)
    if not applied:
        return Laid(table, left_out)
    return Laid(RouteTable(routes, table.digest, table.layers, applied, table), left_out)


def rollout_of(table: RouteTable, route: str, problem: str = "") -> Rollout | None:
    """Return what has been decided about a route of *table*; None for nothing.

    Args:
        table: the one that serves.
        route: its name.
        problem: why what the store has is not in force.
    """
    overlay = table.overlays.get(route)
    if overlay is None:
        return Rollout(problem=problem) if problem else None
    plain = table.plain.get(route)
    placed = plain.route.experiment if plain is not None else None
    step = overlay.step
    return Rollout(
        experiment=overlay.experiment or "",
        enrolment=step.enrolment,
        table_enrolment=placed.enrolment if placed is not None else None,
        resumes_at=step.resumes_at,
        weights=step.weights,
        at=step.at,
        by=step.by,
        how=step.how,
        why=step.why,
        problem=problem,
    )
