"""What is fixed when an experiment starts: its definition, who is in it, and how units are drawn.

```
experiments/<name>/started.json     written once
experiments/<name>/stopped.json     written once
```
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from turnout_server.experiments import planning, seal
from turnout_server.experiments.definition import Experiment, InvalidExperimentError, digest_of
from turnout_server.routing.decide import Names
from turnout_server.routing.table import CompiledRoute
from turnout_server.store.blobs import Blobs
from turnout_server.vocabulary.errors import Kind, StoreError, TurnoutError
from turnout_server.vocabulary.names import NAME_PATTERN

FOLDER = "experiments"
FORMAT = 2
"""Since this one everything is sealed; before, only the definition had a digest."""

_SEALED = 2


class ExperimentConflictError(TurnoutError):
    """The experiment is there already, or another one is in its way."""

    reason = "EXPERIMENT_CONFLICT"
    kind = Kind.CONFLICT


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


class Stopped(msgspec.Struct, frozen=True):
    """That it was stopped."""

    at: datetime
    by: str
    why: str


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
    fixed = msgspec.structs.replace(experiment, start=at, stop=None, weights={arm.name: arm.weight for arm in arms})
    return Started(
        format=FORMAT,
        experiment=fixed,
        digest=digest_of(fixed),
        salt=route.route.salt,
        epoch=names.epoch_of(route.name),
        arms=arms,
        by=by,
    )


class Ledger:
    """The experiments of a store."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def names(self) -> tuple[str, ...]:
        """Return which there are, by name."""
        entries = self._blobs.list(FOLDER) or ()
        return tuple(sorted(entry.name for entry in entries if re.fullmatch(NAME_PATTERN, entry.name)))

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
        started: Started = _decoded(raw, Started, name)
        place = f"experiments/{name}/started.json"
        if started.format > FORMAT:
            raise StoreError(f"{place}: format {started.format}; at most {FORMAT} is known here")
        seal.opened(raw, Started, place, must_be_sealed=started.format >= _SEALED)
        if digest_of(started.experiment) != started.digest:
            raise StoreError(f"experiments/{name}/started.json was changed: its digest is not that of its definition")
        stopped = self._read(name, "stopped")
        return started, None if stopped is None else _decoded(stopped, Stopped, name)

    def start(self, started: Started) -> None:
        """Keep an experiment for good.

        Raises:
            ExperimentConflictError: one of that name was started before, or another one runs on the route.
        """
        name, route = started.experiment.name, started.experiment.route
        for other in self.names():
            if other != name:
                before, stopped = self.get(other)
                if before.experiment.route == route and stopped is None:
                    raise ExperimentConflictError(f"experiment {other!r} runs on route {route!r}; stop it first")
        if not self._blobs.put_if_absent(f"{FOLDER}/{name}/started.json", seal.sealed(started)):
            raise ExperimentConflictError(f"an experiment {name!r} was started before; take another name")

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


def _encoded(value: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _decoded(raw: bytes, kind: Any, name: str) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.MsgspecError as error:
        raise StoreError(f"experiments/{name}: {error}") from error
