"""What has been decided about a route since its table was written: laid over the table, which people alone write.

An overlay says which share of units takes part in the route's experiment, or other weights. It holds for the route as
it was when it was decided: once a person changes in the table what the overlay replaces, the person is right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated

import msgspec

from turnout_server.routing.places import resolve, shown
from turnout_server.routing.route import MOST_WEIGHT, Experiment, Fraction, Route
from turnout_server.vocabulary.errors import InvalidRouteTableError
from turnout_server.vocabulary.names import Name

FORMAT = 1
MOST_BYTES = 1 << 20
MOST_EARLIER = 1000
"""So many earlier steps are kept: the newest."""
MOST_CHARACTERS = 300
"""Of a text in a step; longer ones are cut when it is made."""

Moment = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z\Z")]
"""RFC 3339, UTC."""
Text = Annotated[str, msgspec.Meta(max_length=MOST_CHARACTERS)]
Footing = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One decision. What it does not say is the table's to say."""

    at: Moment
    by: Text = ""
    how: Text = ""
    """The command, or the controller."""
    why: Text = ""
    enrolment: Fraction | None = None
    """The share of units that takes part."""
    resumes_at: Fraction | None = None
    """While the experiment is paused, which is an enrolment of 0: the enrolment that it goes back to."""
    weights: Annotated[dict[Name, float], msgspec.Meta(max_length=64)] = {}
    """By target; other targets keep theirs."""


class Overlay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """All that has been decided about one route."""

    format: int
    route: Name
    on: Footing
    """What of the route it was decided on; see `footing`."""
    experiment: Name | None = None
    """The experiment that it belongs to; None for weights of a route without one."""
    control: Name | None = None
    """The experiment's, for a table that does not have the experiment."""
    step: Step
    """The present one."""
    earlier: Annotated[tuple[Step, ...], msgspec.Meta(max_length=MOST_EARLIER)] = ()
    """Those before it, oldest first."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps, oldest first."""
        return (*self.earlier, self.step)

    @property
    def is_paused(self) -> bool:
        """Whether the experiment is paused."""
        return self.step.resumes_at is not None

    def then(self, step: Step, on: str) -> Overlay:
        """Return the overlay with another *step* after all others, decided *on* this footing.

        The oldest steps go where there are too many, or where it would be larger than may be read.
        """
        earlier = self.steps[-MOST_EARLIER:]
        while True:
            after = msgspec.structs.replace(self, on=on, step=step, earlier=earlier)
            if not earlier or len(encode(after)) <= MOST_BYTES:
                return after
            earlier = earlier[len(earlier) // 10 + 1 :]


def footing(route: Route, *, weights: bool) -> str:
    """Return the digest of what an overlay replaces: 16 hexadecimal digits.

    Args:
        route: as the table has it.
        weights: whether the overlay has weights, and not enrolment alone. Then targets and their weights enter, too.
    """
    placed = route.experiment
    said: list[object] = [placed and (placed.name, placed.control, placed.enrolment)]
    if weights:
        said.append(sorted((target.name, target.weight) for target in route.targets))
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:16]


def why_not(route: Route, overlay: Overlay) -> str:
    """Say why *overlay* is not to be laid over *route*, as the table has it; empty where it is."""
    placed, step = route.experiment, overlay.step
    if overlay.experiment is not None and placed is not None and overlay.experiment != placed.name:
        return f"it is of the experiment {overlay.experiment!r}, and the route's is {placed.name!r}"
    known = ", ".join(target.name for target in route.targets)
    for name in (*step.weights, *([overlay.control] if placed is None and overlay.control else [])):
        if route.target(name) is None:
            return f"it names a target {name!r}; the route has {known}"
    if overlay.on != footing(route, weights=bool(step.weights)):
        what = "experiment or its weights" if step.weights else "experiment (its name, control or enrolment)"
        return f"since it was decided, the route's {what} was changed in the route table, which counts"
    if step.weights and not any(target.weight > 0 for target in overlaid(route, overlay).targets):
        return "every weight would be 0"
    if placed is None and step.enrolment is not None and (overlay.experiment is None or overlay.control is None):
        return "it has an enrolment, and neither it nor the route table says of which experiment with which control"
    return ""


def overlaid(route: Route, overlay: Overlay) -> Route:
    """Return *route* as it is with *overlay*, which nothing speaks against."""
    step, experiment = overlay.step, route.experiment
    if step.enrolment is not None:
        if experiment is not None:
            experiment = msgspec.structs.replace(experiment, enrolment=step.enrolment)
        elif step.enrolment < 1.0 and overlay.experiment and overlay.control:
            experiment = Experiment(overlay.experiment, overlay.control, enrolment=step.enrolment)
    targets = tuple(
        msgspec.structs.replace(target, weight=step.weights.get(target.name, target.weight)) for target in route.targets
    )
    return msgspec.structs.replace(route, experiment=experiment, targets=targets)


def parse(content: bytes, route: str) -> Overlay:
    """Read the overlay of *route*.

    Raises:
        InvalidRouteTableError: it is none; the error names the file and the place in it.
    """
    file = f"rollouts/{route}.json"
    if len(content) > MOST_BYTES:
        raise InvalidRouteTableError(file, f"found {len(content)} bytes; at most {MOST_BYTES} are allowed")
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRouteTableError(file, f"not JSON: {error}") from error
    found = document.get("format") if isinstance(document, dict) else None
    if isinstance(found, int) and found != FORMAT:
        raise InvalidRouteTableError(f"{file}: $.format", f"found {found}; this release reads {FORMAT}")
    try:
        overlay = msgspec.convert(document, Overlay)
    except msgspec.ValidationError as error:
        problem, _, tail = str(error).partition(" - at ")
        place = tail.removeprefix("`key` in ").strip("`") or "$"
        there = resolve(place, document)
        told = "" if isinstance(there, dict | list) else f"; found {shown(there)}"
        raise InvalidRouteTableError(f"{file}: {place}", f"{problem}{told}") from error
    for place, problem in _faults(overlay, route):
        raise InvalidRouteTableError(f"{file}: {place}", problem)
    return overlay


def encode(overlay: Overlay) -> bytes:
    """Return an overlay as it is stored."""
    return msgspec.json.format(msgspec.json.encode(overlay), indent=2) + b"\n"


def revision_of(digest: str, overlays: Mapping[str, Overlay]) -> str:
    """Return the digest of a table's text and of the overlays over it; the text's own where there are none."""
    if not overlays:
        return digest
    return hashlib.sha256(msgspec.json.encode([digest, sorted(overlays.items())])).hexdigest()


def cut(text: str) -> str:
    """Return *text* as a step may have it: one line that is not too long, and that UTF-8 can hold."""
    return "".join(char if char.isprintable() else " " for char in text[:MOST_CHARACTERS])


def _faults(overlay: Overlay, route: str) -> list[tuple[str, str]]:
    faults = []
    if overlay.route != route:
        faults.append(("$.route", f"found {overlay.route!r}; the file is named for {route!r}"))
    places = {"$.step": overlay.step} | {f"$.earlier[{index}]": step for index, step in enumerate(overlay.earlier)}
    for place, step in places.items():
        if step.resumes_at is not None and step.enrolment != 0:
            faults.append((f"{place}.enrolment", f"found {step.enrolment}; one that is paused has 0"))
        faults += [
            (f"{place}.weights.{name}", f"found {weight}; expected a number from 0 to {MOST_WEIGHT:g}")
            for name, weight in step.weights.items()
            if not 0 <= weight <= MOST_WEIGHT
        ]
        if step.enrolment is None and not step.weights:
            faults.append((place, "says nothing; expected an enrolment or weights"))
    return faults
