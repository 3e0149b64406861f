"""Good tables are taken and broken ones refused; who may answer is what the store has said."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.soak.shelf import LABELS, ROUTES, Shelf, broken_table, table
from turnout_server.routing.table import selectors
from turnout_server.routing.text import parse
from turnout_server.vocabulary.errors import InvalidRouteTableError

seeds = st.integers(0, 10**6)


@given(seeds)
def test_a_good_table_has_every_route_or_all_but_those_that_come_and_go(seed: int) -> None:
    assert {compiled.name for compiled in parse(table(Random(seed)))} == ROUTES.keys()
    names = {compiled.name for compiled in parse(table(Random(seed), whole=False))}
    assert names == {name for name, route in ROUTES.items() if not route.comes_and_goes}


@given(seeds)
def test_a_broken_table_cannot_be_read_or_names_what_is_not_there(seed: int) -> None:
    try:
        found = parse(broken_table(Random(seed)))
    except InvalidRouteTableError:
        return
    named = {(model, version) for model, wanted in selectors(found).items() for version in wanted}
    known = {(route.model.name, label) for route in ROUTES.values() for label in LABELS}
    wrong_task = any(
        found.get(name).route.task != route.model.task for name, route in ROUTES.items() if found.get(name)
    )  # type: ignore[union-attr]
    assert named - known or wrong_task


def test_who_may_answer_is_what_the_store_has_said() -> None:
    shelf = Shelf()
    for version in (1, 2):
        assert shelf.next_version("table") == version
        shelf.add("table", version)
    shelf.broken["table"].add(shelf.next_version("table"))
    assert shelf.next_version("table") == 4
    shelf.point("table", "champion", 1)
    assert list(shelf.may_answer("table", "")) == [1, 2]
    assert list(shelf.may_answer("table", "3")) == []
    assert list(shelf.may_answer("table", "champion")) == [1]
    shelf.point("table", "champion", 2)
    assert set(shelf.may_answer("table", "champion")) == {1, 2}
    assert list(shelf.may_answer("table", "challenger")) == []


@pytest.mark.parametrize(("label", "removable"), [(1, []), (2, [1]), (3, [1, 2])])
def test_neither_the_newest_nor_a_labelled_version_is_removed(label: int, removable: list[int]) -> None:
    shelf = Shelf()
    for version in (1, 2, 3):
        shelf.add("table", version)
    shelf.point("table", "champion", label)
    shelf.point("table", "challenger", 3)
    assert shelf.removable("table") == ([2] if label == 1 else removable)
