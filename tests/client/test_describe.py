"""Which version's signature is a route's or a model's."""

from __future__ import annotations

from typing import Any

import pytest

import turnout
from turnout import describe


def version(number: int, state: str = "AVAILABLE") -> turnout.Version:
    return turnout.Version(version=number, task="tensors", state=state)


MODELS = {
    "churn": turnout.Model("churn", (version(3, "LOADING"), version(2), version(1)), {"old": 1}),
    "price": turnout.Model("price", (version(9), version(8)), {"champion": 8}),
    "empty": turnout.Model("empty", ()),
}
ROUTES = {
    "shop": turnout.Route(
        name="shop",
        task="price",
        salt="s",
        targets=(
            turnout.Target("a", "price", "9", 90.0),
            turnout.Target("b", "churn", "old", 10.0, 1),
            turnout.Target("c", "churn", "2", 5.0, 2),
        ),
    ),
    "off": turnout.Route(name="off", task="price", salt="s", targets=(turnout.Target("a", "price", "champion", 1.0),)),
}


def found(name: str, pinned: int | str | None = None) -> turnout.Version:
    """Answer the steps' calls from MODELS and ROUTES."""
    steps = describe.steps(name, pinned)
    call = next(steps)
    while True:
        request: Any = call.request
        known: Any = ROUTES.get(request.route) if hasattr(request, "route") else MODELS.get(request.model)
        try:
            if known is None:
                what = "route or model" if hasattr(request, "route") else "model"
                call = steps.throw(turnout.NotFoundError(f"no {what} named {name!r}", code="NOT_FOUND"))
            else:
                call = steps.send(known)
        except StopIteration as end:
            version: turnout.Version = end.value
            return version


@pytest.mark.parametrize(
    ("name", "pinned", "number"),
    [
        ("shop", None, 1),
        ("shop", 2, 2),
        ("off", None, 8),
        ("churn", None, 2),
        ("churn", "old", 1),
        ("churn", 3, 3),
        ("price", None, 8),
        ("price", "9", 9),
    ],
)
def test_the_version_that_answers_says_what_goes_in(name: str, pinned: int | str | None, number: int) -> None:
    assert found(name, pinned).version == number


@pytest.mark.parametrize(
    ("name", "pinned", "says"),
    [
        ("nope", None, "no route or model named 'nope'"),
        ("churn", "new", "model 'churn' has no label 'new'"),
        ("churn", 7, "model 'churn' has no version '7'"),
        ("empty", None, "model 'empty' has no version"),
    ],
)
def test_what_is_not_there_is_not_found(name: str, pinned: int | str | None, says: str) -> None:
    with pytest.raises(turnout.NotFoundError, match=says):
        found(name, pinned)
