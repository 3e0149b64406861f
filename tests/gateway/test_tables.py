"""The table as people wrote it, with rollouts over it; who has made it what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.world import World, table
from turnout_server.gateway.tables import Tables, authorship
from turnout_server.routing.laying import lay
from turnout_server.routing.overlay import Overlay, Step, encode, footing
from turnout_server.routing.table import EMPTY, RouteTable
from turnout_server.routing.text import parse
from turnout_server.store.audit import By, Entry
from turnout_server.vocabulary.errors import InvalidRouteTableError

TEXT = table("only price 1 1", "other price 1 1")
AT = "2026-11-29T12:00:00Z"
STEP = Step(at=AT, by="ada", how="turnout experiment pause", why="it hurts", enrolment=0.0, resumes_at=1.0)


def overlay(text: str = TEXT, step: Step = STEP) -> Overlay:
    route = parse(text).require("price").route
    on = footing(route, weights=bool(step.weights))
    return Overlay(format=1, route="price", on=on, experiment="x", control="only", step=step)


def decide(world: World, one: Overlay) -> None:
    world.store.rollouts.change("price", lambda raw: encode(one), "decided", By("ada"))


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(tmp_path / "store")
    world.publish()
    world.routes(TEXT)
    return world


async def test_a_table_is_read_with_what_was_decided_and_is_the_same_as_long_as_nothing_changes(world: World) -> None:
    tables = Tables(world.store)
    plain = tables.read(world.store.snapshot(), EMPTY).table
    assert plain is not None
    assert plain.overlays == {}
    decide(world, overlay())
    first, second = (tables.read(world.store.snapshot(), plain) for _ in range(2))
    assert first.table is second.table is first.meanwhile
    assert first.table is not None
    assert first.table.require("price").route.experiment is not None
    assert (first.table.digest, first.table.plain) == (plain.digest, plain)


async def test_a_broken_table_gives_what_serves_the_decisions_of_the_moment(world: World) -> None:
    tables = Tables(world.store)
    served = tables.read(world.store.snapshot(), EMPTY).table
    assert served is not None
    world.routes("routes: [")
    decide(world, overlay())
    found = tables.read(world.store.snapshot(), served)
    assert found.table is None
    assert found.problem
    assert found.meanwhile is not None
    assert found.meanwhile.require("price").route.experiment is not None


async def test_a_pause_that_was_decided_on_a_table_that_is_refused_is_in_force_with_the_one_that_serves(
    world: World,
) -> None:
    """Who pauses goes by the store's table, and cannot know that gateways refuse it for another route."""
    trial = "    experiment: {{name: x, control: only, enrolment: {share}}}\n"
    before = table("only price 1 1") + trial.format(share=0.5)
    newer = table("only price 1 1") + trial.format(share=1.0)
    tables = Tables(world.store)
    world.routes(before)
    served = tables.read(world.store.snapshot(), EMPTY).table
    assert served is not None
    refused = newer + table("only price 7 1", route="late").removeprefix("routes:\n")
    world.routes(refused)
    decide(world, overlay(refused))
    for _ in range(2):
        found = tables.read(world.store.snapshot(), served)
        assert found.table is None
        assert "has no version 7" in found.problem
        assert found.meanwhile is not None
        assert found.meanwhile.digest == served.digest
        gate = found.meanwhile.require("price").gate
        assert gate is not None
        assert gate.share == 0.0
        assert found.left_out == {}


async def test_a_text_is_checked_as_one_that_is_read(world: World) -> None:
    assert len(Tables(world.store).check(TEXT)) == 1
    with pytest.raises(InvalidRouteTableError, match="has no version 7; it has 1"):
        Tables(world.store).check(table("only price 7 1"))


def test_who_has_changed_a_table_is_who_wrote_it_or_decided_last() -> None:
    before = parse(TEXT)
    laid = lay(before, {"price": overlay()}).table
    written = Entry(what="routes", action="set", at=AT, who="bob", how="turnout routes set")
    decided = {"by": "ada", "how": "turnout experiment pause", "at": AT, "why": "it hurts"}
    assert authorship(before, laid, None, None) == decided
    assert authorship(laid, before, None, None)["how"] == "what was decided about a route was removed"
    other = RouteTable({}, "other")
    assert authorship(laid, other, written, None) == {"by": "bob", "how": "turnout routes set", "at": AT}
    assert authorship(laid, other, None, None) == {"by": "not known", "how": "outside Turnout"}
    assert authorship(laid, other, None, Path("/x/mine.yaml"))["how"] == "mine.yaml was changed"
