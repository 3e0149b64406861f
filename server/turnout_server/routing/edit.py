"""Other weights in a route table's text: only the numbers themselves are replaced, so that comments and layout stay."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec
import yaml

from turnout_server.routing.route import Route
from turnout_server.routing.table import RouteTable
from turnout_server.routing.text import compose, parse
from turnout_server.vocabulary.errors import InvalidRouteTableError


class Wanted(NamedTuple):
    """What somebody wants a target to have."""

    number: float
    is_share: bool = False
    """Whether it is a share of the route's traffic, 0 to 1, rather than a weight."""


def weights_for(name: str, route: Route, wanted: Mapping[str, Wanted]) -> dict[str, float]:
    """Return the new weights by target; those that stay as they are, too.

    Where shares are wanted the targets that are not named share the rest as they did before, and the sum of all weights
    stays.

    Raises:
        InvalidRouteTableError: a target is not there; shares and weights are mixed, come to more than 1, or leave
            something for targets that have nothing.
    """
    place = f"$.routes.{name}.targets"
    old = {target.name: target.weight for target in route.targets}
    for target in wanted:
        if target not in old:
            raise InvalidRouteTableError(place, f"no target named {target!r}; the route has {', '.join(old)}")
    kinds = {one.is_share for one in wanted.values()}
    if kinds != {True}:
        if len(kinds) > 1:
            raise InvalidRouteTableError(place, "weights and percentages are mixed; give one or the other")
        return old | {target: one.number for target, one in wanted.items()}
    total, named = math.fsum(old.values()), math.fsum(one.number for one in wanted.values())
    left = {target: weight for target, weight in old.items() if target not in wanted}
    rest = 1.0 - named
    if rest < -1e-9 or (not left and rest > 1e-9):
        raise InvalidRouteTableError(place, f"the percentages come to {named * 100:.6g} %, not 100 %")
    others = math.fsum(left.values())
    if rest > 1e-9 and not others:
        raise InvalidRouteTableError(
            place, f"{rest * 100:.6g} % are left for {', '.join(left)}, whose weights are 0; say what they get, too"
        )
    scale = max(rest, 0.0) * total / others if others else 0.0
    new = {target: one.number * total for target, one in wanted.items()}
    return new | {target: weight * scale for target, weight in left.items()}


def with_weights(text: str, name: str, weights: Mapping[str, float]) -> str:
    """Return a route table's text with other weights for targets of the route *name*.

    Raises:
        InvalidRouteTableError: the text is not a route table, or would not be one with these weights.
        RouteNotFoundError: it has no such route.
    """
    before = parse(text)
    route = before.require(name).route
    old = {target.name: target.weight for target in route.targets}
    changed = {target: number(weight) for target, weight in weights.items() if old.get(target) != weight}
    edits = sorted(_places(text, name, changed))
    new = text
    for start, end, shown in reversed(edits):
        new = new[:start] + shown + new[end:]
    after = parse(new)
    if not _differ_in_weights_only(before, after, name, changed):
        raise InvalidRouteTableError(f"$.routes.{name}", "cannot be edited weight by weight; apply a whole table")
    return new


def number(weight: float) -> str:
    """Return a weight as YAML reads it back: never with an exponent, which it would take for a text."""
    return f"{weight:.9f}".rstrip("0").rstrip(".") or "0"


def _places(text: str, name: str, changed: Mapping[str, str]) -> Iterator[tuple[int, int, str]]:
    """Yield where in the text the weights are, in characters, and what is to stand there."""
    targets = _value(_value(_value(compose(text), "routes"), name), "targets")
    for target in targets.value if isinstance(targets, yaml.SequenceNode) else ():
        called, weight = _value(target, "name"), _value(target, "weight")
        shown = changed.get(called.value) if isinstance(called, yaml.ScalarNode) else None
        if shown is not None and isinstance(weight, yaml.ScalarNode):
            yield weight.start_mark.index, weight.end_mark.index, shown


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    for each, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(each, yaml.ScalarNode) and each.value == key:
            found: yaml.Node = value
            return found
    return None


def _differ_in_weights_only(before: RouteTable, after: RouteTable, name: str, changed: Mapping[str, str]) -> bool:
    expected = {compiled.name: compiled.route for compiled in before}
    route = expected[name]
    targets = tuple(
        msgspec.structs.replace(target, weight=float(changed[target.name])) if target.name in changed else target
        for target in route.targets
    )
    expected[name] = msgspec.structs.replace(route, targets=targets)
    return expected == {compiled.name: compiled.route for compiled in after}
