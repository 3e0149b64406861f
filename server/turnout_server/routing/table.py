"""The route table: an immutable snapshot that is swapped whole, and the decision that it makes for a request."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from turnout_server.routing.enrolment import Draws, Gate
from turnout_server.routing.layer import Layer, check_layers
from turnout_server.routing.overlay import Overlay, revision_of
from turnout_server.routing.places import resolve, shown
from turnout_server.routing.route import HEADER_PATTERN, Experiment, Mirror, Override, Route, Target, When, check_route
from turnout_server.routing.split import Splitter, scores, shares
from turnout_server.vocabulary.decision import Reason
from turnout_server.vocabulary.errors import InvalidRouteTableError, RouteNotFoundError
from turnout_server.vocabulary.names import NAME_PATTERN
from turnout_server.vocabulary.versions import VersionKey

_KINDS: Mapping[str, type[msgspec.Struct]] = {
    "$.routes.*": Route,
    "$.routes.*.targets": Target,
    "$.routes.*.overrides": Override,
    "$.routes.*.overrides.when": When,
    "$.routes.*.mirrors": Mirror,
    "$.routes.*.experiment": Experiment,
    "$.layers.*": Layer,
}
"""What stands where in a table, whatever the names of routes and layers."""
_KEYS = ("routes", "layers")


class Assignment(NamedTuple):
    """Which target a request gets, and why."""

    target: Target
    reason: Reason
    override_index: int = -1
    """The override that matched, counted from 0; -1 when none did."""


class CompiledRoute:
    """One route of a table, ready to assign."""

    __slots__ = ("_splitter", "control", "fallback", "gate", "layer", "name", "propensities", "route")

    def __init__(self, name: str, route: Route, layer: Layer | None = None) -> None:
        """Make one of a route that is in order, and the layer of its experiment."""
        self.name = name
        self.route = route
        self.layer = layer
        experiment = route.experiment
        self.gate = Gate(route.salt, experiment, layer) if experiment is not None else None
        """Says who takes part in the experiment; None without one."""
        self.control: Target | None = route.target(experiment.control) if experiment is not None else None
        self.fallback: Target | None = route.target(route.fallback) if route.fallback else None
        self.propensities: Mapping[str, float] = shares(route.targets)
        """The probability with which each target is drawn, by its name."""
        self._splitter = Splitter(route)

    @property
    def mirrors(self) -> tuple[Mirror, ...]:
        """Where copies go."""
        return self.route.mirrors

    def assign(self, unit: str, headers: Mapping[str, str], u: float) -> Assignment:
        """Decide for one request.

        Args:
            unit: what the assignment sticks to; empty for none.
            headers: request metadata, names in lower case.
            u: uniform in [0, 1), used only where there is no unit.
        """
        for index, override in enumerate(self.route.overrides):
            if override.when.matches(unit, headers):
                return Assignment(self._named(override), Reason.OVERRIDE, index)
        if unit:
            return self.place(unit)
        # What the enrolment holds back must not be reached by leaving the unit out.
        return Assignment(self.control or self._splitter.draw(u), Reason.UNSTICKY)

    def place(self, unit: str) -> Assignment:
        """Decide for a *unit*, which is not empty, whatever overrides say."""
        if self.gate is not None and self.control is not None:
            kept_out = self.gate.keeps_out(unit)
            if kept_out is not None:
                return Assignment(self.control, kept_out)
        return Assignment(self._splitter.pick(unit), Reason.SPLIT)

    def draws(self, unit: str) -> Draws | None:
        """Return what *unit* drew for the experiment; None without an experiment or a unit."""
        return self.gate.draws(unit) if self.gate is not None and unit else None

    def scores(self, unit: str) -> dict[str, float]:
        """Return the score of each target that can be picked, by its name: the lowest wins. Empty for no unit."""
        return scores(self.route, unit) if unit else {}

    def expected(self) -> dict[str, float]:
        """Return the share of units that each target is expected to get, 0 to 1, by its name."""
        if self.gate is None or self.control is None:
            return dict(self.propensities)
        part = self.gate.share
        found = {name: part * share for name, share in self.propensities.items()}
        found[self.control.name] += 1.0 - part
        return found

    def _named(self, override: Override) -> Target:
        target = self.route.target(override.target)
        assert target is not None, "checked when the table was built"
        return target


class RouteTable:
    """All routes at one moment. Never changes; a new table replaces it whole."""

    __slots__ = ("_routes", "digest", "layers", "overlays", "plain", "revision")

    def __init__(
        self,
        routes: Mapping[str, Route],
        digest: str = "",
        layers: Mapping[str, Layer] | None = None,
        overlays: Mapping[str, Overlay] | None = None,
        plain: RouteTable | None = None,
    ) -> None:
        """Build a table.

        Args:
            routes: by name, with overlays laid over them.
            digest: of the text that it was read from.
            layers: by name.
            overlays: what was laid over the routes, by their names; see `turnout_server.routing.laying`.
            plain: the table without them; None for this very table.

        Raises:
            InvalidRouteTableError: a route or a layer is wrong somewhere; the error names the place.
        """
        for name, route in routes.items():
            check_route(route, f"$.routes.{name}")
        self.layers: Mapping[str, Layer] = layers or {}
        check_layers(self.layers, routes)
        self._routes = {
            name: CompiledRoute(name, route, self._layer_of(route)) for name, route in sorted(routes.items())
        }
        self.digest = digest
        """SHA-256 of the text that the table was read from, in hexadecimal; empty for a table made in code."""
        self.overlays: Mapping[str, Overlay] = overlays or {}
        self.plain: RouteTable = self if plain is None else plain
        """The table as people wrote it."""
        self.revision: str = revision_of(digest, self.overlays)
        """The digest of the text and of what was laid over it; the text's alone where nothing was."""

    def __len__(self) -> int:
        return len(self._routes)

    def __iter__(self) -> Iterator[CompiledRoute]:
        return iter(self._routes.values())

    def get(self, name: str) -> CompiledRoute | None:
        """Return the route called *name*, if there is one."""
        return self._routes.get(name)

    def require(self, name: str) -> CompiledRoute:
        """Return the route called *name*.

        Raises:
            RouteNotFoundError: there is none.
        """
        route = self._routes.get(name)
        if route is None:
            raise RouteNotFoundError(name)
        return route

    def _layer_of(self, route: Route) -> Layer | None:
        name = route.experiment.layer if route.experiment is not None else None
        return self.layers[name] if name is not None else None


EMPTY = RouteTable({})


def convert(document: Any, digest: str = "") -> RouteTable:
    """Build a table from a document as read from YAML or JSON.

    A document without routes is refused, unless it says so: nothing is what a file holds while it is being written.

    Raises:
        InvalidRouteTableError: anything is wrong; the error names the place, what was found and what is allowed.
    """
    if not isinstance(document, dict):
        raise InvalidRouteTableError("$", f"found {shown(document)}; expected a mapping with the key 'routes'")
    for key in document:
        if key not in _KEYS:
            raise InvalidRouteTableError(f"$.{key}", f"unknown key; allowed are {', '.join(_KEYS)}")
    if "routes" not in document:
        raise InvalidRouteTableError("$", "the key 'routes' is missing")
    routes = _converted("$.routes", document["routes"], Route)
    layers = _converted("$.layers", document["layers"], Layer) if "layers" in document else {}
    return RouteTable(routes, digest, layers)


def digest_of(text: str) -> str:
    """Return the digest of a table's text: its SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def selectors(table: RouteTable) -> dict[str, set[int | str]]:
    """Return every version and label that *table* refers to, by model."""
    wanted: dict[str, set[int | str]] = {}
    for compiled in table:
        arms: list[Target | Mirror] = [*compiled.route.targets, *compiled.route.mirrors]
        for arm in arms:
            wanted.setdefault(arm.model, set()).add(arm.version)
    return wanted


def numbered(table: RouteTable) -> frozenset[VersionKey]:
    """Return the versions that *table* names by their numbers; what a label means may change without it."""
    return frozenset(
        VersionKey(model, selector)
        for model, named in selectors(table).items()
        for selector in named
        if isinstance(selector, int)
    )


_Kind = TypeVar("_Kind", bound=msgspec.Struct)


def _converted(place: str, document: Any, kind: type[_Kind]) -> dict[str, _Kind]:
    """Return what a mapping of names holds."""
    if not isinstance(document, dict):
        raise InvalidRouteTableError(
            place, f"found {shown(document)}; expected a mapping of names to {place[2:]}, {{}} for none"
        )
    return {_name(name, place): _convert(place, name, body, kind) for name, body in document.items()}


def _name(found: Any, place: str) -> str:
    if not isinstance(found, str) or re.fullmatch(NAME_PATTERN, found) is None:
        raise InvalidRouteTableError(f"{place}.{found}", f"the name is not allowed; it must match {NAME_PATTERN}")
    return found


# Not to decode with: so that msgspec learns a struct's fields now. It would do so at the first conversion, and 0.22
# crashes the process where two threads make it do so at once.
msgspec.json.Decoder(Route)
msgspec.json.Decoder(Layer)


def _convert(above: str, name: str, body: Any, kind: type[_Kind]) -> _Kind:
    place = f"{above}.{name}"
    try:
        return msgspec.convert(body, kind)
    except UnicodeEncodeError as error:  # where something else than a text is expected; msgspec does not say where
        raise InvalidRouteTableError(place, f"found {error.object!r}, with half a surrogate pair") from error
    except msgspec.ValidationError as error:
        problem, _, tail = str(error).partition(" - at ")
        if tail.startswith("`key` in "):  # of a mapping, and msgspec does not say which
            inner = tail.removeprefix("`key` in ").strip("`")
            is_header = inner.endswith(".header")
            wrong = [
                key for key in resolve(inner, body) if not (_is_header(key) if is_header else isinstance(key, str))
            ]
            found = ", ".join(map(shown, wrong[:1]))
            allowed = f"a name must match {HEADER_PATTERN}" if is_header else "a key must be text"
            raise InvalidRouteTableError(f"{place}{inner[1:]}", f"found the name {found}; {allowed}") from error
        inner = tail.strip("`") or "$"
        found = resolve(inner, body)
        more = _allowed(f"{above}.*{inner[1:]}") if "unknown field" in problem else ""
        if not isinstance(found, dict | list):
            more = f"; found {shown(found)}"
        raise InvalidRouteTableError(f"{place}{inner[1:]}", f"{problem}{more}") from error


def _is_header(key: Any) -> bool:
    return isinstance(key, str) and re.fullmatch(HEADER_PATTERN, key) is not None


def _allowed(place: str) -> str:
    """Say which keys may stand at *place*."""
    kind = _KINDS.get(re.sub(r"\[\d+\]", "", place))
    return f"; allowed are {', '.join(kind.__struct_fields__)}" if kind is not None else ""
