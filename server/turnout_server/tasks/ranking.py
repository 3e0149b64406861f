"""Ranking: one context and its candidates -> rows of features; a score a row -> an order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from turnout_server.tasks import features
from turnout_server.tasks.features import FeatureColumn
from turnout_server.vocabulary.errors import (
    InvalidFeatureError,
    InvalidModelError,
    InvalidRequestError,
    UnknownOutputError,
)
from turnout_server.vocabulary.tensors import Array, Arrays

SCORE = "score"


class Ranked(NamedTuple):
    """One candidate in its place."""

    position: int
    """Its place in the request, counted from 0."""
    score: float


def columns(context: Sequence[FeatureColumn], candidates: Iterable[FeatureColumn]) -> dict[str, Array]:
    """Return the features of both, by name.

    Args:
        context: features with one value each, which holds for every candidate.
        candidates: features with a value a candidate, or one for all.

    Raises:
        InvalidFeatureError: a context feature has no value or several, or a name stands twice.
    """
    for name, values in context:
        if len(values) != 1:
            raise InvalidFeatureError(name, f"found {len(values)} values; a feature of the context has one")
    return features.collect(context, candidates)


def check(candidates: int, top_k: int) -> None:
    """Refuse a *top_k* below 0, and more than `features.MAX_ROWS` *candidates*.

    Raises:
        InvalidRequestError: either is the case.
    """
    if top_k < 0:
        raise InvalidRequestError(f"top_k: found {top_k}; expected 0 (all) or more")
    if candidates > features.MAX_ROWS:
        raise InvalidRequestError(f"candidate_ids: found {candidates}; at most {features.MAX_ROWS} are allowed")


def scores(outputs: Arrays, candidates: int) -> Array:
    """Return the scores, shape [candidates], float32 or float64: the output `score`, or the only one there is.

    Raises:
        UnknownOutputError: there are several outputs and none is called `score`.
        InvalidModelError: it is not one number a candidate.
    """
    name = next(iter(outputs)) if len(outputs) == 1 else SCORE
    found = outputs.get(name)
    if found is None:
        raise UnknownOutputError(SCORE, tuple(outputs))
    if found.shape not in ((candidates,), (candidates, 1)) or found.dtype.kind not in "fiub":
        raise InvalidModelError(f"output {name!r} is {found.dtype} of shape {found.shape} for {candidates} candidates")
    flat = found.reshape(-1)
    return flat if flat.dtype.kind == "f" else flat.astype(np.float64)


def order(scores: Array, top_k: int) -> list[Ranked]:
    """Return the best *top_k* candidates, all for 0; equal scores keep the request's order and NaN comes last."""
    best = np.argsort(-scores, kind="stable")[: top_k or None]
    return list(map(Ranked, best.tolist(), scores[best].tolist()))
