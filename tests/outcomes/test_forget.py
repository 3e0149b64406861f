"""After `forget` the unit's outcomes are nowhere, and others are as they were."""

from __future__ import annotations

import json

from tests.journal.journals import row, write_segment
from tests.outcomes.intakes import World, outcome
from turnout_server.journal.forget import AUDIT
from turnout_server.journal.keys import hashed, key_id, own_keys
from turnout_server.outcomes.forget import forget


def test_outcomes_and_records_of_the_unit_go_from_files_and_no_others(world: World) -> None:
    world.fates(outcome("a"), outcome("b", unit="bob"), outcome("c", unit="", request_id="r"))
    world.end()
    (key,) = own_keys(world.journal)
    write_segment(world.journal, [row(0, unit=hashed("ann", key), unit_key_id=key_id(key)), row(1)])
    done = forget(world.journal, "ann")
    assert (done.rows, len(done.segments)) == (2, 2)
    assert world.ids() == ["b", "c"]
    assert world.find("SELECT seq FROM records").rows == [(1,)]
    assert forget(world.journal, "ann").rows == 0


def test_what_a_dead_gateway_has_in_no_file_goes_too_and_is_written_down(world: World) -> None:
    world.fates(outcome("a"), outcome("b", unit="bob"))
    world.die()
    done = forget(world.journal, "ann")
    assert (done.rows, done.segments) == (1, ("outcomes/.gw.sqlite",))
    (line,) = (world.journal / AUDIT).read_text().splitlines()
    assert json.loads(line)["segments"] == {"outcomes/.gw.sqlite": 1}
    world.start()
    world.pass_(0)
    assert world.ids() == ["b"]
    assert world.fates(outcome("a")) == ["duplicate"]


def test_what_a_running_gateway_has_in_no_file_is_forgotten_once_it_is_in_one(world: World) -> None:
    world.fates(outcome("a"))
    assert forget(world.journal, "ann").rows == 0
    world.pass_(60)
    assert forget(world.journal, "ann").rows == 1
    assert world.ids() == []
