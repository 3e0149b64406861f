"""What keeps a route table from being served: versions that it sends requests to and that cannot answer yet."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from turnout_server.routing.route import Route, Target
from turnout_server.routing.table import RouteTable
from turnout_server.serving.state import State, VersionStatus
from turnout_server.vocabulary.versions import Labels, VersionKey, resolve


class Obstacles(NamedTuple):
    """Empty texts where there are none."""

    waiting: str = ""
    """What it has to wait for."""
    problem: str = ""
    """Why waiting is of no use."""


def obstacles(
    table: RouteTable,
    served: RouteTable,
    labels: Labels,
    status_of: Callable[[VersionKey], VersionStatus | None],
    suspended: Collection[str],
) -> Obstacles:
    """Say what keeps *table* from taking the place of the one that is *served*.

    Where no more than a decision is laid over the table that serves, only targets count that got no request until now:
    a pause must not wait for the version because of which it was decided.

    Args:
        table: the new one.
        served: the present one.
        labels: what labels mean.
        status_of: where a version is; None for one that nobody has asked for.
        suspended: models that are not to be served.
    """
    waiting = ""
    for compiled in table:
        now = served.get(compiled.name) if table.digest == served.digest else None
        for index, target in enumerate(compiled.route.targets):
            received = now is not None and receives(now.route, now.route.targets[index])
            if received or not receives(compiled.route, target):
                continue
            key = resolve(target.model, target.version, labels)
            status = status_of(key) if key is not None else None
            if status is None or status.state is not State.AVAILABLE:
                state = status.state.value if status is not None else State.STORED.value
                detail = f": {status.detail}" if status is not None and status.detail else ""
                text = f"$.routes.{compiled.name}.targets[{index}]: {key or target.model} is {state}{detail}"
                if state == State.FAILED.value or target.model in suspended:
                    return Obstacles("", text)
                waiting = waiting or text
    return Obstacles(waiting)


def receives(route: Route, target: Target) -> bool:
    """Say whether a target of a route may get requests."""
    named = any(override.target == target.name for override in route.overrides)
    # Units that do not take part, and requests without a unit, get the control whatever its weight is.
    is_control = route.experiment is not None and target.name == route.experiment.control
    return target.weight > 0 or target.name == route.fallback or is_control or named
