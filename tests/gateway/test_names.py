"""What names mean in a running gateway."""

from __future__ import annotations

from pathlib import Path

from tests.gateway.world import World, table
from turnout_server.vocabulary.versions import VersionKey

ONE, TWO = VersionKey("price", 1), VersionKey("price", 2)


async def test_names_are_what_is_stored_and_what_can_answer(tmp_path: Path) -> None:
    world = World(tmp_path / "store")
    world.publish("price", "champion")
    world.broken.add(TWO)
    world.publish("price", "challenger")
    world.routes(table("a price champion 1", route="cost"))
    names = (await world.start()).names
    assert (tuple(names.stored("price")), tuple(names.stored("nothing"))) == ((1, 2), ())
    assert (names.newest("price"), names.newest("nothing")) == (1, 0)
    assert (names.is_available(ONE), names.is_available(TWO)) == (True, False)
    assert names.state_of(TWO) == "FAILED (price version 2 is broken)"
    assert names.state_of(VersionKey("price", 9)) == "STORED"
    assert names.key_of("price", "champion") == ONE
    assert names.stored_labels("price") == {"champion": 1, "challenger": 2}
    assert names.stored_labels("nothing") == {}
    assert [route.name for route in names.table] == ["cost"]
    assert names.epoch_of("cost") == names.view.epoch_of("cost") != ""
