"""What is decided of a running experiment's enrolment: raised, paused, resumed. Written as the overlay of its route.

```
rollouts/<route>.json      changed by put-if-match; it has every step that was decided, so that no second file is needed
```
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from turnout_server.experiments.definition import Experiment, InvalidExperimentError
from turnout_server.experiments.grants import ExperimentConflictError
from turnout_server.experiments.started import Ledger, Started, Stopped
from turnout_server.routing.overlay import FORMAT, Overlay, Step, cut, encode, footing, parse, why_not
from turnout_server.routing.route import Route
from turnout_server.routing.table import RouteTable
from turnout_server.routing.text import parse as parse_table
from turnout_server.store.store import BlobStore, By
from turnout_server.vocabulary.errors import InvalidRouteTableError, RouteNotFoundError, StaleWriteError, StoreError

Verb = Literal["ramp", "pause", "resume"]


class Standing(NamedTuple):
    """How an experiment's enrolment stands."""

    enrolment: float
    """The share of units that takes part, 0 to 1."""
    resumes_at: float | None = None
    """While it is paused: the enrolment that it goes back to."""
    steps: tuple[Step, ...] = ()
    """What was decided, oldest first."""
    overruled: str = ""
    """Why the last step is not in force; empty where it is, or where there is none."""


class History(NamedTuple):
    """What was decided of an experiment's enrolment."""

    steps: tuple[Step, ...]
    """Oldest first."""
    problem: str = ""
    """Why some of it cannot be read."""


class Pause(NamedTuple):
    """A time in which nobody took part."""

    since: datetime
    until: datetime | None
    """None where it goes on."""
    by: str
    why: str


def standing(experiment: str, route: Route, overlay: Overlay | None) -> Standing:
    """Return how the enrolment of an *experiment* stands.

    Args:
        experiment: its name.
        route: as the table has it.
        overlay: of that route.
    """
    placed = route.experiment
    plain = placed.enrolment if placed is not None and placed.name == experiment else 1.0
    if overlay is None or overlay.experiment != experiment:
        return Standing(plain)
    problem = why_not(route, overlay)
    if problem or overlay.step.enrolment is None:
        return Standing(plain, None, overlay.steps, problem)
    return Standing(overlay.step.enrolment, overlay.step.resumes_at, overlay.steps)


def decided(verb: Verb, now: Standing, to: float, name: str) -> tuple[float, float | None]:
    """Return the enrolment that follows, and, where the experiment is paused, the one that it goes back to.

    Args:
        verb: what is to be done.
        now: how it stands.
        to: of `ramp`, the enrolment.
        name: the experiment's, for errors.

    Raises:
        InvalidExperimentError: it cannot be done to any experiment, or would send units away.
        ExperimentConflictError: it cannot be done as it stands.
    """
    if verb == "pause":
        if now.resumes_at is not None:
            raise ExperimentConflictError(f"experiment {name!r} is paused already")
        return 0.0, now.enrolment
    if verb == "resume":
        if now.resumes_at is None:
            why = f": {now.overruled}" if now.overruled else ""
            raise ExperimentConflictError(f"experiment {name!r} is not paused{why}")
        return now.resumes_at, None
    if not math.isfinite(to) or not 0 < to <= 1:
        raise InvalidExperimentError("--enrolment", f"found {to:g}; expected a share above 0, and at most 1 (100%)")
    if now.resumes_at is not None:
        raise ExperimentConflictError(f"experiment {name!r} is paused; resume it first")
    if to < now.enrolment:
        problem = (
            f"{percent(to)} is less than the present {percent(now.enrolment)}: units that take part would leave, and "
            "what they do then would still count for their arm; `pause` holds all of them back at once"
        )
        raise InvalidExperimentError("--enrolment", problem)
    if to == now.enrolment:
        raise ExperimentConflictError(f"the enrolment of experiment {name!r} is {percent(to)} already")
    return to, None


class Rollout:
    """Decides for the experiments of a store."""

    def __init__(self, store: BlobStore, table: str | None = None) -> None:
        """Decide in *store*, by its route table, or by the text of another *table* in its place."""
        self._store = store
        self._table = table
        self._ledger = Ledger(store.blobs)

    def standing(self, name: str) -> Standing | None:
        """Return how an experiment's enrolment stands; None where the route table does not tell.

        Raises:
            UnknownExperimentError: there is no such experiment.
            StoreError: it cannot be read.
        """
        started, stopped = self._ledger.get(name)
        route = started.experiment.route
        history = self.history(started, stopped)
        try:
            found = standing(name, self._route(route), self._overlay(self._store.rollouts.get(route), route))
        except (RouteNotFoundError, InvalidRouteTableError):
            return None
        return found if found.steps else found._replace(steps=history.steps)

    def history(self, started: Started, stopped: Stopped | None) -> History:
        """Return what was decided of an experiment's enrolment, as far as it can be read."""
        one, kept = started.experiment, () if stopped is None else stopped.steps
        try:
            overlay = self._overlay(self._store.rollouts.get(one.route), one.route)
        except (InvalidRouteTableError, StoreError) as error:
            return History(kept, error.message)
        if overlay is not None and overlay.experiment == one.name:
            return History(overlay.steps)
        return History(kept)

    def decide(
        self, verb: Verb, name: str, at: datetime, by: By, *, why: str = "", to: float = math.nan
    ) -> tuple[Standing, Standing]:
        """Raise, pause or resume; return how it stood before, and how it stands.

        Of several who decide at once one does, and the others are told; only a pause is decided anew by what the other
        has left, since it must not fail for that.

        Raises:
            UnknownExperimentError: none of that name was started.
            InvalidExperimentError, ExperimentConflictError: see `decided`; or it was stopped.
            RouteNotFoundError: its route is gone.
            InvalidRouteTableError: the route table, or what was decided before, is wrong.
            StaleWriteError: somebody else was faster, or has changed the route table meanwhile so that it counts.
            StoreError, StoreReadOnlyError: the store cannot be read or written.
        """
        started, stopped = self._ledger.get(name)
        if stopped is not None:
            when = f"{stopped.at:%Y-%m-%d %H:%M} UTC"
            raise ExperimentConflictError(f"experiment {name!r} was stopped at {when}; nobody enters it any more")
        route_name = started.experiment.route
        route = self._route(route_name)
        if route.experiment is not None and route.experiment.name != name:
            problem = f"the experiment of route {route_name!r} in the route table is {route.experiment.name!r} now"
            raise ExperimentConflictError(f"{problem}, and not {name!r}")
        seen = self._store.rollouts.get(route_name)
        outcome: list[tuple[Standing, Standing, Overlay]] = []

        def changed(raw: bytes | None) -> bytes:
            if raw != seen and verb != "pause":
                problem = f"somebody else has decided about route {route_name!r} meanwhile; look again"
                raise StaleWriteError(problem, route=route_name)
            overlay = self._overlay(raw, route_name)
            before = standing(name, route, overlay)
            enrolment, resumes_at = decided(verb, before, to, name)
            step = Step(
                at=_moment(at),
                by=cut(by.who),
                how=cut(by.how),
                why=cut(why),
                enrolment=enrolment,
                resumes_at=resumes_at,
            )
            after = _then(overlay, step, started, route)
            outcome[:] = [(before, standing(name, route, after), after)]
            return encode(after)

        action = f"{name}: {verb}" + (f" to {percent(to)}" if verb == "ramp" else "")
        self._store.rollouts.change(route_name, changed, action, by)
        [(before, after, written)] = outcome
        self._check_in_force(written)
        return before, after

    def _check_in_force(self, written: Overlay) -> None:
        """Tell who has decided where somebody has changed the route table since it was read for that."""
        try:
            problem = why_not(self._route(written.route), written)
        except (RouteNotFoundError, InvalidRouteTableError, StoreError):
            return  # gateways go on with the table before it, on which this was decided
        if problem:
            raise StaleWriteError(f"not in force: {problem}; decide again", route=written.route)

    def _route(self, name: str) -> Route:
        """Return a route as people wrote it."""
        text = self._store.routes_text() if self._table is None else self._table
        if text is None:
            raise RouteNotFoundError(name)
        return parse_table(text).require(name).route

    def _overlay(self, raw: bytes | None, route: str) -> Overlay | None:
        return None if raw is None else parse(raw, route)


def check_left(wanted: Experiment, table: RouteTable) -> None:
    """Check that no other experiment has left the route of one that is to start paused, where the table has none.

    Args:
        wanted: the one that is to start.
        table: with what was decided laid over it.

    Raises:
        ExperimentConflictError: one has; the error says since when, and what ends it.
    """
    overlay, route, plain = table.overlays.get(wanted.route), table.get(wanted.route), table.plain.get(wanted.route)
    if overlay is None or route is None or plain is None or overlay.experiment in (None, wanted.name):
        return
    if route.route.experiment is not None and plain.route.experiment is None:
        paused = f"route {wanted.route!r} is paused since {overlay.step.at} for the experiment {overlay.experiment!r}"
        way = f"put {wanted.name!r} into the route table as the route's experiment, or remove"
        raise ExperimentConflictError(f"{paused}; {way} rollouts/{wanted.route}.json")


def pauses(steps: Sequence[Step], until: datetime) -> list[Pause]:
    """Return when nobody took part, as far as that was decided before *until*."""
    known = [(moment, step) for step in steps if (moment := _read(step.at)) is not None and moment <= until]
    found: list[Pause] = []
    for moment, step in known:
        goes_on = bool(found) and found[-1].until is None
        if step.resumes_at is None and goes_on:
            found[-1] = found[-1]._replace(until=moment)
        elif step.resumes_at is not None and not goes_on:
            found.append(Pause(moment, None, step.by, step.why))
    return found


def said(pause: Pause) -> str:
    """Say that an experiment was paused, for those who read its analysis.

    Not that nobody entered: somebody may have overruled the pause in the route table, which no step says.
    """
    until = "and is still" if pause.until is None else f"until {pause.until:%Y-%m-%d %H:%M} UTC"
    why = f": {pause.why}" if pause.why else ""
    paused = f"paused at {pause.since:%Y-%m-%d %H:%M} UTC by {pause.by}, {until}{why}"
    return f"{paused}; unless the route table overruled it, no unit entered"


def percent(share: float) -> str:
    """Return a share as people read it."""
    return f"{share * 100:.6g}%"


def _then(overlay: Overlay | None, step: Step, started: Started, route: Route) -> Overlay:
    on, one = footing(route, weights=False), started.experiment
    if overlay is not None and overlay.experiment == one.name:
        return overlay.then(step, on)
    # What an earlier experiment has left: its own steps are in its `stopped.json`.
    return Overlay(format=FORMAT, route=one.route, on=on, experiment=one.name, control=one.control, step=step)


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _read(at: str) -> datetime | None:
    try:
        return datetime.fromisoformat(at)
    except ValueError:  # a day that no month has
        return None
