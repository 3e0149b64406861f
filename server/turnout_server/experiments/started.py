"""What is fixed when an experiment starts: its definition, who is in it, and how units are drawn.

```
experiments/<name>/started.json     written once
experiments/<name>/stopped.json     written once
```

What it holds while it runs, and for a while after that, is in `grants`; what is decided of its enrolment in `rollout`.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from turnout_server.experiments import planning, seal
from turnout_server.experiments.definition import Experiment, InvalidExperimentError, digest_of
from turnout_server.experiments.grants import ExperimentConflictError, Grant, Grants, Standing
from turnout_server.routing.decide import Names
from turnout_server.routing.overlay import Step
from turnout_server.routing.route import Span
from turnout_server.routing.table import CompiledRoute
from turnout_server.store.blobs import Blobs
from turnout_server.vocabulary.errors import Kind, StoreError, TurnoutError
from turnout_server.vocabulary.names import NAME_PATTERN

FOLDER = "experiments"
FORMAT = 2
"""Since this one everything is sealed; before, only the definition had a digest."""

_SEALED = 2


class UnknownExperimentError(TurnoutError):
    """No experiment of that name was started."""

    reason = "EXPERIMENT_UNKNOWN"
    kind = Kind.NOT_FOUND


class Arm(msgspec.Struct, frozen=True):
    """A target as it was at the start."""

    name: str
    model: str
    version: int
    weight: float


class Started(msgspec.Struct, frozen=True):
    """An experiment that was started."""

    format: int
    experiment: Experiment
    """With its start, and the weights of its arms."""
    digest: str
    """Of the definition."""
    salt: str
    epoch: str
    arms: tuple[Arm, ...]
    by: str
    buckets: tuple[Span, ...] = ()
    """Of the experiment's layer; none without one."""

    @property
    def grant(self) -> Grant:
        """What it holds while it runs."""
        one = self.experiment
        assert one.start is not None, "it has been started"
        return Grant(one.name, one.route, self.digest, one.start, self.by, one.layer, self.buckets)


class Stopped(msgspec.Struct, frozen=True):
    """That it was stopped."""

    at: datetime
    by: str
    why: str
    cool_down_s: int | None = None
    """How long nobody else gets its buckets of a layer; None is its longest window."""
    steps: tuple[Step, ...] = ()
    """What was decided of its enrolment, oldest first."""


def check_on(experiment: Experiment, route: CompiledRoute | None, names: Names) -> tuple[Arm, ...]:
    """Return the experiment's arms as the route has them now.

    Args:
        experiment: which.
        route: the route of its name, if the table has one.
        names: what labels mean.

    Raises:
        InvalidExperimentError: it cannot be asked of that route; the error names the place in the definition.
    """
    for place, problem in _faults(experiment, route, names):
        raise InvalidExperimentError(place, problem)
    assert route is not None
    return tuple(_arm(route, name, names) for name in experiment.arms)


def _faults(experiment: Experiment, route: CompiledRoute | None, names: Names) -> Iterator[tuple[str, str]]:
    if route is None:
        yield "$.route", f"no route named {experiment.route!r}"
        return
    yield from _of_table(experiment, route)
    places = {experiment.control: "$.control"}
    places |= {name: f"$.treatments[{index}]" for index, name in enumerate(experiment.treatments)}
    for name, place in places.items():
        target = route.route.target(name)
        if target is None:
            known = ", ".join(one.name for one in route.route.targets)
            yield place, f"the route has no target named {name!r}; it has {known}"
        elif not target.weight:
            yield place, f"target {name!r} has the weight 0: no unit would enter"
        elif names.key_of(target.model, target.version) is None:
            yield place, f"target {name!r}: {target.model} has no label {target.version!r}"
    if not experiment.aa:
        seen: dict[tuple[str, int], str] = {}
        for name, place in places.items():
            arm = _arm(route, name, names)
            if (arm.model, arm.version) in seen:
                other = seen[arm.model, arm.version]
                yield place, f"{name} and {other} are both {arm.model} version {arm.version}: say aa: true if meant"
            seen[arm.model, arm.version] = name
    power = planning.planned(experiment)
    if power is not None and not power.is_enough and not experiment.underpowered:
        needed = f"{power.needed} units are needed to find {experiment.minimal_effect:.2%}"
        yield "$.units", f"{power.planned} are planned; {needed}; say underpowered: true if that is known"


def _of_table(experiment: Experiment, route: CompiledRoute) -> Iterator[tuple[str, str]]:
    """Yield where the definition and the route's own experiment differ: who takes part is the table's to say."""
    placed = route.route.experiment
    if placed is None:
        if experiment.layer is not None or experiment.enrolment != 1.0:
            place = "$.enrolment" if experiment.layer is None else "$.layer"
            yield place, f"route {route.name!r} has no experiment in the table, so that all of its units take part"
        return
    pairs = {
        "$.name": (experiment.name, placed.name),
        "$.control": (experiment.control, placed.control),
        "$.layer": (experiment.layer, placed.layer),
        "$.enrolment": (experiment.enrolment, placed.enrolment),
    }
    for place, (said, found) in pairs.items():
        if said != found:
            yield place, f"{said!r}; in the route table the experiment has {found!r}"


def _arm(route: CompiledRoute, name: str, names: Names) -> Arm:
    target = route.route.target(name)
    assert target is not None
    key = names.key_of(target.model, target.version)
    return Arm(name, target.model, key.version if key else 0, target.weight)


def freeze(experiment: Experiment, route: CompiledRoute | None, names: Names, at: datetime, by: str) -> Started:
    """Return an experiment as it is from now on.

    Raises:
        InvalidExperimentError: as `check_on`.
    """
    arms = check_on(experiment, route, names)
    assert route is not None
    placed = route.route.experiment
    fixed = msgspec.structs.replace(experiment, start=at, stop=None, weights={arm.name: arm.weight for arm in arms})
    return Started(
        format=FORMAT,
        experiment=fixed,
        digest=digest_of(fixed),
        salt=route.route.salt,
        epoch=names.epoch_of(route.name),
        arms=arms,
        by=by,
        buckets=() if experiment.layer is None or placed is None else placed.buckets,
    )


class Ledger:
    """The experiments of a store."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._grants = Grants(blobs)

    def names(self) -> tuple[str, ...]:
        """Return which there are, by name."""
        entries = self._blobs.list(FOLDER) or ()
        return tuple(sorted(entry.name for entry in entries if re.fullmatch(NAME_PATTERN, entry.name)))

    def is_there(self, name: str) -> bool:
        """Say whether an experiment of that name was started."""
        return self._read(name, "started") is not None

    def get(self, name: str) -> tuple[Started, Stopped | None]:
        """Return an experiment, and that it was stopped.

        Raises:
            UnknownExperimentError: there is none of that name.
            StoreError: what is there cannot be read.
        """
        raw = self._read(name, "started") if re.fullmatch(NAME_PATTERN, name) else None
        if raw is None:
            known = ", ".join(self.names()) or "none"
            raise UnknownExperimentError(f"no experiment {name!r} was started; there are {known}")
        place = f"experiments/{name}/started.json"
        started: Started = _decoded(raw, Started, place)
        if started.format > FORMAT:
            raise StoreError(f"{place}: format {started.format}; at most {FORMAT} is known here")
        seal.opened(raw, Started, place, must_be_sealed=started.format >= _SEALED)
        if digest_of(started.experiment) != started.digest:
            raise StoreError(f"experiments/{name}/started.json was changed: its digest is not that of its definition")
        stopped = self._read(name, "stopped")
        return started, None if stopped is None else _decoded(stopped, Stopped, f"experiments/{name}/stopped.json")

    def check(self, started: Started) -> None:
        """Check that nothing is in the way of an experiment that is to start.

        Raises:
            ExperimentConflictError: one of that name was started before, another one runs on the route, or buckets are
                not free.
        """
        self._check_before(started)
        self._grants.check(started.grant, self._standing_of, started.grant.since)

    def start(self, started: Started) -> None:
        """Keep an experiment for good. Of several at once that are in each other's way one starts.

        Raises:
            ExperimentConflictError: as `check`.
        """
        name, grant = started.experiment.name, msgspec.structs.replace(started.grant, token=secrets.token_hex(8))
        self._check_before(started)
        self._grants.claim(grant, self._standing_of, grant.since)
        if not self._blobs.put_if_absent(f"{FOLDER}/{name}/started.json", seal.sealed(started)):
            self._grants.withdraw(grant)
            raise _was_started(name)
        if not self._grants.confirm(grant):  # it has taken longer than others wait, and one of them may have its place
            self.stop(name, Stopped(grant.since, started.by, "it took too long to start", cool_down_s=0))
            raise ExperimentConflictError(f"{name!r} took too long to start, and is stopped; take another name")

    def _check_before(self, started: Started) -> None:
        name, route = started.experiment.name, started.experiment.route
        if self._read(name, "started") is not None:
            raise _was_started(name)
        granted = {grant.experiment for grant in self._grants.all()}
        for other in self.names():  # those that started before there were grants
            if other in granted or self._read(other, "stopped") or not self._read(other, "started"):
                continue
            if self.get(other)[0].experiment.route == route:
                raise ExperimentConflictError(f"experiment {other!r} runs on route {route!r}; stop it first")

    def holding(self, now: datetime) -> dict[str, tuple[Grant, datetime | None]]:
        """Return which experiments hold what, by name, and until when; None while one runs.

        One that cannot be read is left out.
        """
        found: dict[str, tuple[Grant, Standing]] = {}
        for grant in self._grants.all():
            with contextlib.suppress(StoreError):
                found[grant.experiment] = (grant, self._standing_of(grant.experiment))
        return {
            name: (grant, standing.cools_until)
            for name, (grant, standing) in found.items()
            if standing.has_started and (standing.cools_until is None or standing.cools_until > now)
        }

    def cools_until(self, started: Started, stopped: Stopped) -> datetime:
        """Return when the buckets of an experiment that was stopped are free again."""
        one, after = started.experiment, stopped.cool_down_s
        longest = max(one.window_s(name) for name in one.roles) if after is None else after
        return stopped.at + timedelta(seconds=longest)

    def _standing_of(self, name: str) -> Standing:
        if self._read(name, "started") is None:
            return Standing(False)
        started, stopped = self.get(name)
        return Standing(True, None if stopped is None else self.cools_until(started, stopped))

    def stop(self, name: str, stopped: Stopped) -> None:
        """Note that an experiment is over.

        Raises:
            UnknownExperimentError, StoreError: as `get`.
            ExperimentConflictError: it was stopped before.
        """
        self.get(name)
        if not self._blobs.put_if_absent(f"{FOLDER}/{name}/stopped.json", _encoded(stopped)):
            raise ExperimentConflictError(f"experiment {name!r} was stopped before")

    def _read(self, name: str, what: str) -> bytes | None:
        blob = self._blobs.get(f"{FOLDER}/{name}/{what}.json")
        return None if blob is None else blob.content


def _was_started(name: str) -> ExperimentConflictError:
    return ExperimentConflictError(f"an experiment {name!r} was started before; take another name")


def _encoded(value: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _decoded(raw: bytes, kind: Any, place: str) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreError(f"{place}: {error}") from error
