"""Requests are the same for the same seed, and every kind comes up."""

from __future__ import annotations

from random import Random

import pytest

from tests.soak.asks import DEFECTS, DROPPED, STREAMED, Composer, deck
from tests.soak.models import MODELS
from tests.soak.shelf import LABELS, ROUTES, Shelf


@pytest.fixture
def shelf() -> Shelf:
    shelf = Shelf()
    for name in MODELS:
        for version, label in enumerate(LABELS, 1):
            shelf.add(name, version)
            shelf.point(name, label, version)
    return shelf


def test_one_seed_makes_the_same_requests_again(shelf: Shelf) -> None:
    def some() -> list[bytes]:
        composer = Composer(Random(3), shelf, "someone")
        makes = [
            composer.plain,
            composer.price,
            composer.rank,
            composer.recommend,
            composer.hurried,
            composer.defective,
        ]
        return [make().payload for make in makes * 20]

    assert some() == some()


def test_every_route_and_model_comes_up_in_both_forms(shelf: Shelf) -> None:
    composer = Composer(Random(1), shelf, "someone")
    found = {composer.plain().what for _ in range(3000)}
    assert found == {f"{form} {name}" for form in ("raw", "typed") for name in (*MODELS, *ROUTES)}


@pytest.mark.parametrize(("streamed", "defects"), [(False, DEFECTS), (True, STREAMED)])
def test_every_defect_comes_up_and_none_may_be_answered(
    streamed: bool, defects: dict[str, object], shelf: Shelf
) -> None:
    composer = Composer(Random(1), shelf, "someone")
    asks = [composer.defective(streamed) for _ in range(1000)]
    assert {ask.what for ask in asks} == {f"defect: {what}" for what in defects}
    assert not any("OK" in ask.codes for ask in asks)


def test_only_models_that_are_counted_loosely_are_hurried(shelf: Shelf) -> None:
    composer = Composer(Random(1), shelf, "someone")
    names = {composer.hurried().name for _ in range(300)}
    assert {ROUTES[name].model if name in ROUTES else MODELS[name] for name in names} <= {*DROPPED}


def test_a_deck_has_every_card_once() -> None:
    assert sorted(deck(Random(1), range(10))) == list(range(10))
