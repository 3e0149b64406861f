"""What the catalogue says of a running gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.world import World, table
from turnout_server.routing.route import Target
from turnout_server.serving.state import State
from turnout_server.vocabulary.decision import Reason
from turnout_server.vocabulary.errors import (
    LabelNotFoundError,
    RouteNotFoundError,
    VersionNotFoundError,
    VersionUnavailableError,
)
from turnout_server.vocabulary.versions import VersionKey

ONE, TWO = VersionKey("price", 1), VersionKey("price", 2)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """Two versions: 1 is champion, with most of the traffic; 2 is challenger."""
    world = World(tmp_path / "store")
    world.publish("price", "champion")
    world.publish("price", "challenger")
    world.routes(
        table("canary price challenger 10", "control price champion 90", route="cost", more="    fallback: control\n")
    )
    return await world.start()


def test_a_route_is_described_by_its_heaviest_target(world: World) -> None:
    found = world.catalog.describe("cost")
    assert (found.versions, found.manifest.version) == ((1, 2), 1)


def test_a_model_is_described_by_its_champion_and_a_pin_by_itself(world: World) -> None:
    assert world.catalog.describe("price").manifest.version == 1
    assert world.catalog.describe("price", "champion").versions == (1,)
    assert world.catalog.describe("cost", "1").versions == (1,)


@pytest.mark.parametrize(
    ("name", "version", "error"),
    [
        ("nothing", "", RouteNotFoundError),
        ("price", "9", VersionNotFoundError),
        ("price", "nolabel", LabelNotFoundError),
        ("price", "9" * 1000, VersionNotFoundError),
    ],
)
def test_what_does_not_exist_is_told_and_not_ready(
    world: World, name: str, version: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        world.catalog.describe(name, version)
    assert not world.catalog.is_ready(name, version)


async def test_a_route_none_of_whose_targets_is_available_is_not_ready(world: World) -> None:
    await world.administration.unload("price")
    with pytest.raises(VersionUnavailableError):
        world.catalog.describe("cost")
    assert not world.catalog.is_ready("cost")
    assert not world.catalog.is_ready("price")


def test_every_version_in_the_store_has_a_status(world: World) -> None:
    world.publish("unseen")
    assert [(status.key, status.state) for status in world.catalog.status()] == [
        (ONE, State.AVAILABLE),
        (TWO, State.AVAILABLE),
    ]
    assert world.catalog.models() == ("price",)
    assert world.catalog.status("nothing") == ()


def target(version: int | str) -> Target:
    return Target("any", "price", version, 1.0)


def test_what_answers_for_a_target_is_what_its_selector_gets_now(world: World) -> None:
    found = [world.catalog.answers_for(target(version)) for version in ("champion", 2, 9, "nolabel")]
    assert found == [1, 2, 0, 0]


async def test_a_label_that_no_route_uses_has_a_version_too(world: World) -> None:
    world.store.set_label("price", "extra", 2)
    await world.look()
    assert world.catalog.answers_for(target("extra")) == 2


def test_an_assignment_is_the_one_that_a_request_would_get(world: World) -> None:
    decision = world.catalog.assign("cost", "someone", {})
    assert (decision.reason, decision.override) == (Reason.SPLIT, -1)
    assert world.catalog.assign("cost", "", {}).reason is Reason.UNSTICKY
    with pytest.raises(RouteNotFoundError):
        world.catalog.assign("price", "someone", {})


async def test_a_manifest_comes_from_memory_or_from_the_store(world: World) -> None:
    assert (await world.catalog.manifest(ONE)).version == 1
    world.publish("unseen")
    assert (await world.catalog.manifest(VersionKey("unseen", 1))).model == "unseen"


async def test_statistics_are_of_what_a_name_stands_for(world: World) -> None:
    await world.version(version="1")
    counted = dict(world.catalog.statistics())
    assert (counted[ONE].success.count, counted[TWO].success.count) == (1, 0)
    assert [key for key, _ in world.catalog.statistics("cost")] == [ONE, TWO]
    assert [key for key, _ in world.catalog.statistics("price", "champion")] == [ONE]
    assert [key for key, _ in world.catalog.statistics("price")] == [ONE, TWO]
