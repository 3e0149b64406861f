"""The routes that a server serves, and whom a unit gets by them, as frozen values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from turnout import v1
from turnout.answers import Served, read_served


@dataclass(frozen=True, slots=True)
class Target:
    """One arm of a route."""

    name: str
    model: str
    version: str
    """A version number or a label."""
    weight: float
    serving_version: int | None = None
    """The version that serves it now; None when none does."""


@dataclass(frozen=True, slots=True)
class Override:
    """Sends certain requests to one target."""

    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    units: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mirror:
    """Sends copies of some requests to a model, unanswered."""

    model: str
    version: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Layer:
    """Experiments that share units exclusively."""

    name: str
    salt: str
    holdout: float = 0.0
    """The share of units that is kept out of all of its experiments, 0 to 0.5."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """Says which units a route splits; all others get the control."""

    name: str
    control: str
    """The target of units that do not take part."""
    layer: Layer | None = None
    """The layer whose units it shares with other experiments; None where it has all of the route's."""
    buckets: tuple[tuple[int, int], ...] = ((0, 1000),)
    """The layer's buckets whose units may take part: each pair is the first one, and the one after the last."""
    enrolment: float = 1.0
    """The share of those that do, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """What has been decided about a route since its table was written, and is laid over it."""

    experiment: str = ""
    """The experiment that it belongs to; empty for none."""
    enrolment: float | None = None
    """The share of units that takes part in the experiment, 0 to 1; None where it is the table's."""
    table_enrolment: float | None = None
    """What the table says of that; None where it has no experiment."""
    resumes_at: float | None = None
    """While the experiment is paused, and so no unit takes part: the enrolment that it goes back to."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """The weights that were decided, by target."""
    at: datetime | None = None
    """When it was decided, in UTC; None where nothing is in force."""
    by: str = ""
    how: str = ""
    """The command by which it was decided, or the controller."""
    why: str = ""
    problem: str = ""
    """Why what the store has of it is not in force; empty where it is."""


@dataclass(frozen=True, slots=True)
class Route:
    """A public name whose traffic is split over targets."""

    name: str
    task: str
    salt: str
    targets: tuple[Target, ...]
    overrides: tuple[Override, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    fallback: str = ""
    """The target that answers when the assigned one is not available; empty for none."""
    experiment: Experiment | None = None
    rollout: Rollout | None = None
    """What has been decided about it since its table was written; it is in all of the above already."""


@dataclass(frozen=True, slots=True)
class RouteTable:
    """The routes that a server serves now, ordered by name."""

    routes: tuple[Route, ...]
    digest: str
    """The table's SHA-256, in hexadecimal: `expected_digest` of `apply_routes`."""
    problem: str = ""
    """Why the table in the store is not this one; empty when it is."""

    def __iter__(self) -> Iterator[Route]:
        return iter(self.routes)

    def __len__(self) -> int:
        return len(self.routes)


@dataclass(frozen=True, slots=True)
class Draws:
    """What one unit drew for an experiment, each to be held against what the experiment says."""

    holdout: float | None
    """Above 0 and below 1: below the layer's holdout, the unit is in it. None without a layer."""
    bucket: int | None
    """The unit's bucket in the layer, 0 to 999; None likewise."""
    enrolment: float
    """Above 0 and below 1: below the experiment's enrolment, the unit takes part if the layer lets it."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Whom a unit gets, and why."""

    served: Served
    override: int | None
    """The override that matched, as its position in the route, counted from 0; None when none did."""
    draws: Draws | None = None
    """What the unit drew for the route's experiment; None without an experiment or a unit."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """The score of each target that can be picked, by its name: a unit that takes part gets the lowest's."""


def read_route(route: v1.Route) -> Route:
    """Read a `Route`."""
    return Route(
        name=route.name,
        task=route.task,
        salt=route.salt,
        targets=tuple(
            Target(one.name, one.model, one.version, one.weight, one.serving_version or None) for one in route.targets
        ),
        overrides=tuple(Override(one.target, dict(one.headers), tuple(one.units)) for one in route.overrides),
        mirrors=tuple(Mirror(one.model, one.version, one.fraction) for one in route.mirrors),
        fallback=route.fallback,
        experiment=_read_experiment(route.experiment) if route.HasField("experiment") else None,
        rollout=_read_rollout(route.rollout) if route.HasField("rollout") else None,
    )


def _read_rollout(given: v1.Rollout) -> Rollout:
    return Rollout(
        experiment=given.experiment,
        enrolment=given.enrolment if given.HasField("enrolment") else None,
        table_enrolment=given.table_enrolment if given.HasField("table_enrolment") else None,
        resumes_at=given.resumes_at if given.HasField("resumes_at") else None,
        weights=dict(given.weights),
        at=given.decide_time.ToDatetime(UTC) if given.HasField("decide_time") else None,
        by=given.by,
        how=given.how,
        why=given.why,
        problem=given.problem,
    )


def _read_experiment(given: v1.Experiment) -> Experiment:
    layer = Layer(given.layer.name, given.layer.salt, given.layer.holdout) if given.HasField("layer") else None
    buckets = tuple((one.first, one.end) for one in given.buckets)
    return Experiment(given.name, given.control, layer, buckets, given.enrolment)


def read_route_table(pages: list[v1.ListRoutesResponse]) -> RouteTable:
    """Join the *pages* of `ListRoutes`.

    The digest is the first page's, so that a table that changed between two pages makes `expected_digest` fail.
    """
    routes = tuple(read_route(route) for page in pages for route in page.routes)
    return RouteTable(routes, pages[0].table_digest, pages[-1].table_problem)


def read_assignment(response: v1.AssignResponse) -> Assignment:
    """Read the answer to `Assign`."""
    override = response.override_index
    return Assignment(
        read_served(response.served),
        None if override < 0 else override,
        _read_draws(response.draws) if response.HasField("draws") else None,
        dict(response.scores),
    )


def _read_draws(draws: v1.ExperimentDraws) -> Draws:
    return Draws(
        draws.holdout if draws.HasField("holdout") else None,
        draws.bucket if draws.HasField("bucket") else None,
        draws.enrolment,
    )
