"""An experiment as it is asked: one question about one route, and all that is decided before anybody looks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from turnout_server.experiments import metric as metrics_of
from turnout_server.experiments.metric import Duration, Metric, seconds
from turnout_server.vocabulary.errors import Kind, TurnoutError
from turnout_server.vocabulary.names import Name

Method = Literal["sequential", "fixed"]
Probability = Annotated[float, msgspec.Meta(gt=0, lt=1)]

MOST_METRICS = 100
MOST_ALPHA = 0.2


class InvalidExperimentError(TurnoutError):
    """An experiment's definition is wrong somewhere; `place` is a path in it."""

    reason = "EXPERIMENT_INVALID"
    kind = Kind.INVALID

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}", place=place)
        self.place = place


class Exclusion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Units that are taken for robots, whichever arm they are in."""

    exposures_over: Annotated[int, msgspec.Meta(ge=1)]
    """More exposures than this are no person's."""


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question about one route. Times are in UTC where they have no zone."""

    name: Name
    route: Name
    control: Name
    """The arm that the others are compared with."""
    treatments: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=63)]
    primary: Name
    """The metric that decides."""
    window: Duration
    """How long after a unit's first exposure its outcomes count."""
    units: Annotated[int, msgspec.Meta(ge=20)]
    """Planned, of all arms together. A sequential analysis is tightest about there, and right at any number."""
    metrics: dict[str, Metric] = {}
    question: str = ""
    guardrails: tuple[Name, ...] = ()
    """Metrics that must not get worse by more than their margins."""
    secondary: tuple[Name, ...] = ()
    """Metrics that are looked at beside, and decide nothing."""
    method: Method = "sequential"
    """Whether one may look at any time, or once, at the end."""
    alpha: Annotated[float, msgspec.Meta(gt=0, le=MOST_ALPHA)] = 0.05
    power: Probability = 0.8
    minimal_effect: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """The least change of the primary metric, as a part of control's value, that would be worth knowing."""
    days: Annotated[int, msgspec.Meta(ge=1, le=366)] | None = None
    """How long units may enter. A fixed analysis needs it: it is made once, when all of them have had their windows."""
    start: datetime | None = None
    """Of a past experiment. `turnout experiment start` sets it."""
    stop: datetime | None = None
    aa: bool = False
    """Whether arms are meant to be of the same version."""
    underpowered: bool = False
    """Whether it is known that the planned units can't show the minimal effect."""
    layer: Name | None = None
    enrolment: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    """The share of units that take part at the start."""
    weights: dict[str, Annotated[float, msgspec.Meta(gt=0)]] = {}
    """Of a past experiment whose records have no propensities."""
    exclude: Exclusion | None = None

    @property
    def arms(self) -> tuple[str, ...]:
        """Control first."""
        return (self.control, *self.treatments)

    @property
    def roles(self) -> Mapping[str, str]:
        """The metrics that count, by name: `primary`, `guardrail`, `secondary`, in this order."""
        return (
            {self.primary: "primary"}
            | dict.fromkeys(self.guardrails, "guardrail")
            | dict.fromkeys(self.secondary, "secondary")
        )

    def window_s(self, name: str) -> int:
        """Return how long outcomes count for a metric, in seconds."""
        return seconds(self.metrics[name].window or self.window)


def digest_of(experiment: Experiment) -> str:
    """Return the digest of what an experiment says: SHA-256 of its canonical JSON, in hexadecimal."""
    canonical = msgspec.json.encode(msgspec.to_builtins(experiment), order="deterministic")
    return hashlib.sha256(canonical).hexdigest()


def check(experiment: Experiment) -> None:
    """Check what types cannot say.

    Raises:
        InvalidExperimentError: with the first thing that is wrong, and its place.
    """
    for place, problem in _faults(experiment):
        raise InvalidExperimentError(place, problem)


def _faults(experiment: Experiment) -> Iterator[tuple[str, str]]:
    arms = experiment.arms
    for index, name in enumerate(experiment.treatments):
        if name in arms[: index + 1]:
            which = "the control" if name == experiment.control else "an earlier treatment"
            yield f"$.treatments[{index}]", f"{name!r} is {which} too"
    if not experiment.metrics:
        yield "$.metrics", "there are none"
    if len(experiment.metrics) > MOST_METRICS:
        yield "$.metrics", f"found {len(experiment.metrics)}; at most {MOST_METRICS} are allowed"
    for name, metric in experiment.metrics.items():
        for field, problem in metrics_of.faults(metric):
            yield f"$.metrics.{name}.{field}", problem
    yield from _of_roles(experiment)
    yield from _of_times(experiment)
    if experiment.weights and set(experiment.weights) != set(arms):
        yield "$.weights", f"expected one for each arm: {', '.join(arms)}"


def _of_roles(experiment: Experiment) -> Iterator[tuple[str, str]]:
    named = [
        ("$.primary", experiment.primary),
        *((f"$.guardrails[{index}]", name) for index, name in enumerate(experiment.guardrails)),
        *((f"$.secondary[{index}]", name) for index, name in enumerate(experiment.secondary)),
    ]
    seen: dict[str, str] = {}
    for place, name in named:
        if name not in experiment.metrics:
            yield place, f"no metric named {name!r}; there are {', '.join(experiment.metrics)}"
        if name in seen:
            yield place, f"{name!r} is {seen[name]} already"
        seen[name] = place.removeprefix("$.")
    for name in experiment.metrics:
        if name not in seen:
            yield f"$.metrics.{name}", "is neither primary nor a guardrail nor secondary"
    if experiment.method == "sequential":
        for place, name in named:
            if experiment.metrics[name].kind == "quantile" and not place.startswith("$.secondary"):
                yield place, f"{name!r} is a quantile, which can be looked at once only: secondary, or method: fixed"


def _of_times(experiment: Experiment) -> Iterator[tuple[str, str]]:
    if experiment.method == "fixed" and experiment.days is None:
        yield "$.days", "missing: a fixed analysis is made once, at an end that is known before"
    if experiment.start and experiment.stop and experiment.stop <= experiment.start:
        yield "$.stop", "is not after start"
