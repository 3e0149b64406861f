"""Layers: experiments in one share units exclusively, and those of two layers know nothing of each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, NamedTuple

import msgspec

from turnout_server.routing.route import Experiment, Route, Salt, Span, check_salt
from turnout_server.vocabulary.errors import InvalidRouteTableError


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Divides units into buckets, each of which one experiment may have, and keeps some units out of all of them."""

    salt: Salt
    """What makes its buckets and its holdout independent of other layers', and of every split."""
    holdout: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.0
    """The share of units that no experiment of the layer gets."""


class _Granted(NamedTuple):
    """Buckets of a layer that an experiment has."""

    layer: str
    span: Span
    place: str


def check_layers(layers: Mapping[str, Layer], routes: Mapping[str, Route]) -> None:
    """Check what layers and the experiments of *routes*, each in order by itself, are to each other.

    Raises:
        InvalidRouteTableError: a salt that is no text, or that another layer or a route has; a holdout that is no
            number; two experiments of one name; an experiment in a layer that is not there, or with buckets that
            another one has.
    """
    salts = {route.salt: f"$.routes.{name}" for name, route in routes.items()}
    for name, layer in layers.items():
        place = f"$.layers.{name}"
        check_salt(layer.salt, f"{place}.salt")
        if not math.isfinite(layer.holdout):
            raise InvalidRouteTableError(f"{place}.holdout", "must be a number from 0 to 0.5")
        if layer.salt in salts:
            raise InvalidRouteTableError(
                f"{place}.salt", f"{salts[layer.salt]} has the salt {layer.salt!r} too; they would not be independent"
            )
        salts[layer.salt] = place
    seen: dict[str, str] = {}
    for place, experiment in _experiments(routes):
        if experiment.name in seen:
            raise InvalidRouteTableError(
                f"{place}.name", f"{experiment.name!r} names {seen[experiment.name]} too; an experiment is of one route"
            )
        seen[experiment.name] = place
        if experiment.layer is not None and experiment.layer not in layers:
            known = ", ".join(layers) or "none"
            raise InvalidRouteTableError(
                f"{place}.layer", f"no layer named {experiment.layer!r}; the table has {known}"
            )
    _check_buckets(routes)


def _check_buckets(routes: Mapping[str, Route]) -> None:
    """Check that each bucket of a layer is granted once."""
    granted = sorted(
        _Granted(experiment.layer, span, f"{place}.buckets[{index}]")
        for place, experiment in _experiments(routes)
        if experiment.layer is not None
        for index, span in enumerate(experiment.buckets)
    )
    for one, other in pairwise(granted):
        if one.layer == other.layer and other.span[0] < one.span[1]:
            raise InvalidRouteTableError(
                other.place,
                f"found {list(other.span)}, of which {one.place} has a part: {list(one.span)}; "
                f"each bucket of the layer {one.layer!r} is granted once",
            )


def _experiments(routes: Mapping[str, Route]) -> Iterator[tuple[str, Experiment]]:
    for name, route in routes.items():
        if route.experiment is not None:
            yield f"$.routes.{name}.experiment", route.experiment
