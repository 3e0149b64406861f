"""`turnout.v1.RouteService`."""

from __future__ import annotations

import contextlib

from turnout.v1 import route_service_pb2 as pb
from turnout_server.gateway.administration import Administration
from turnout_server.gateway.catalog import Catalog
from turnout_server.routing.layer import Layer
from turnout_server.routing.laying import Rollout
from turnout_server.routing.route import Experiment, Mirror, Override, Target
from turnout_server.routing.table import CompiledRoute
from turnout_server.rpc.author import author
from turnout_server.rpc.turnout_v1 import typed
from turnout_server.rpc.turnout_v1.paging import page
from turnout_server.transport.call import Call
from turnout_server.vocabulary.errors import InvalidRequestError

MOST_HEADERS = 512
"""Headers that an assignment may be asked with: as many as fit into a real call's metadata. A message would hold
millions, and to look at them keeps the event loop from all else for seconds."""


class RouteService:
    """Looks at the route table, explains assignments, and replaces the table."""

    def __init__(self, catalog: Catalog, administration: Administration) -> None:
        """Look in *catalog*, and change by *administration*."""
        self._catalog = catalog
        self._administration = administration

    async def ListRoutes(self, request: pb.ListRoutesRequest, call: Call) -> pb.ListRoutesResponse:
        """List the routes that this server serves now, ordered by name."""
        table = self._catalog.table
        routes = {compiled.name: compiled for compiled in table}
        names, next_token = page(tuple(routes), request.page_size, request.page_token)
        return pb.ListRoutesResponse(
            routes=[self._route(routes[name]) for name in names],
            next_page_token=next_token,
            table_digest=table.digest,
            table_problem=self._catalog.table_problem,
        )

    async def GetRoute(self, request: pb.GetRouteRequest, call: Call) -> pb.GetRouteResponse:
        """Return one route."""
        return pb.GetRouteResponse(route=self._route(self._catalog.table.require(_named(request.route))))

    async def Assign(self, request: pb.AssignRequest, call: Call) -> pb.AssignResponse:
        """Say which target a unit belongs to, and why, without running a model."""
        if len(request.headers) > MOST_HEADERS:
            raise InvalidRequestError(f"headers: {len(request.headers)} of them; at most {MOST_HEADERS} are allowed")
        headers = {name.lower(): value for name, value in request.headers.items()}
        decision = self._catalog.assign(_named(request.route), request.unit, headers)
        compiled = self._catalog.table.require(request.route)
        draws = compiled.draws(request.unit)
        return pb.AssignResponse(
            served=typed.served(decision),
            override_index=decision.override,
            draws=pb.ExperimentDraws(**draws._asdict()) if draws is not None else None,
            scores=compiled.scores(request.unit),
        )

    async def ApplyRoutes(self, request: pb.ApplyRoutesRequest, call: Call) -> pb.ApplyRoutesResponse:
        """Replace the whole route table in the store, or only check the new one."""
        digest = await self._administration.apply_routes(
            request.yaml, request.expected_digest, request.validate_only, author(call, "ApplyRoutes")
        )
        return pb.ApplyRoutesResponse(table_digest=digest)

    def _route(self, compiled: CompiledRoute) -> pb.Route:
        route, decided = compiled.route, self._catalog.rollout(compiled.name)
        return pb.Route(
            name=compiled.name,
            task=route.task,
            salt=route.salt,
            targets=map(self._target, route.targets),
            overrides=map(_override, route.overrides),
            mirrors=map(_mirror, route.mirrors),
            fallback=route.fallback or "",
            experiment=_experiment(route.experiment, compiled.layer) if route.experiment is not None else None,
            rollout=_rollout(decided) if decided is not None else None,
        )

    def _target(self, target: Target) -> pb.Target:
        return pb.Target(
            name=target.name,
            model=target.model,
            version=str(target.version),
            weight=target.weight,
            serving_version=self._catalog.answers_for(target),
        )


def _named(route: str) -> str:
    if not route:
        raise InvalidRequestError("route: is empty; expected a route's name")
    return route


def _override(override: Override) -> pb.Override:
    return pb.Override(headers=override.when.header, units=override.when.unit, target=override.target)


def _experiment(experiment: Experiment, layer: Layer | None) -> pb.Experiment:
    return pb.Experiment(
        name=experiment.name,
        control=experiment.control,
        layer=pb.Layer(name=experiment.layer or "", salt=layer.salt, holdout=layer.holdout)
        if layer is not None
        else None,
        buckets=[pb.Buckets(first=first, end=end) for first, end in experiment.buckets],
        enrolment=experiment.enrolment,
    )


def _rollout(decided: Rollout) -> pb.Rollout:
    found = pb.Rollout(
        experiment=decided.experiment,
        enrolment=decided.enrolment,
        table_enrolment=decided.table_enrolment,
        resumes_at=decided.resumes_at,
        weights=decided.weights,
        by=decided.by,
        how=decided.how,
        why=decided.why,
        problem=decided.problem,
    )
    with contextlib.suppress(ValueError):  # a day that no month has: whoever wrote it by hand
        if decided.at:
            found.decide_time.FromJsonString(decided.at)
    return found


def _mirror(mirror: Mirror) -> pb.Mirror:
    return pb.Mirror(model=mirror.model, version=str(mirror.version), fraction=mirror.fraction)
