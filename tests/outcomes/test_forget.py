"""After `forget` the unit's outcomes are nowhere, and others are as they were."""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journal.journals import row, write_segment
from tests.outcomes.intakes import World, outcome
from turnout_server.journal import forget as journal_forget
from turnout_server.journal.forget import AUDIT, ForgettingError
from turnout_server.journal.keys import hashed, key_id, own_keys
from turnout_server.outcomes.forget import forget
from turnout_server.outcomes.inbox import Inbox


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


def test_outcomes_that_name_a_request_of_the_unit_go_with_it_and_no_others(world: World) -> None:
    world.fates(
        outcome("a", unit="", request_id="r-0"),
        outcome("b", unit="", request_id="r-1"),
        outcome("c", unit="", request_id="r-2"),
        outcome("d", unit="", request_id="r-3"),
        outcome("e"),
        outcome("f", unit="bob"),
    )
    world.end()
    of_ann, of_bob = of(world, "ann"), of(world, "bob")
    # Whose `r-2` it was nobody knows; with Ann's record gone it would pass for Bob's.
    rows = [of_ann(0, "r-0"), of_bob(1, "r-1"), of_ann(2, "r-2"), of_bob(3, "r-2"), row(4, request_id="r-3")]
    write_segment(world.journal, rows)
    done = forget(world.journal, "ann")
    assert (done.rows, done.by_request) == (5, 2)
    assert world.ids() == ["b", "d", "f"]
    assert world.find("SELECT seq FROM records ORDER BY seq").rows == [(1,), (3,), (4,)]
    (line,) = (world.journal / AUDIT).read_text().splitlines()
    assert (json.loads(line)["rows"], json.loads(line)["by_request"]) == (5, 2)


def test_outcomes_by_request_go_before_the_records_that_say_whose_they_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So one that was cut short can be repeated."""
    world.fates(outcome("a", unit="", request_id="r-0"), outcome("b", unit="bob"))
    world.end()
    write_segment(world.journal, [of(world, "ann")(0, "r-0"), row(1)])
    replaced: list[str] = []

    def swap(staged: Path, file: Path) -> None:
        if replaced:
            raise OSError(errno.ENOSPC, "no space left")
        replaced.append(str(file.relative_to(world.journal)))
        staged.replace(file)

    with monkeypatch.context() as patched:
        patched.setattr(journal_forget, "_swap", swap)
        with pytest.raises(ForgettingError, match="no space"):
            forget(world.journal, "ann")
    assert [name.split("/")[0] for name in replaced] == ["outcomes"]
    assert forget(world.journal, "ann").rows == 1
    assert (world.ids(), world.find("SELECT seq FROM records").rows) == (["b"], [(1,)])


def test_outcomes_by_request_that_a_dead_gateway_has_in_no_file_go_too(world: World) -> None:
    world.fates(outcome("a", unit="", request_id="r-0"), outcome("b", unit="", request_id="r-1"))
    world.die()
    write_segment(world.journal, [of(world, "ann")(0, "r-0")])
    done = forget(world.journal, "ann")
    assert (done.rows, done.by_request) == (2, 1)
    world.start()
    world.pass_(0)
    assert world.ids() == ["b"]


def of(world: World, unit: str) -> Callable[[int, str], dict[str, object]]:
    """Return what makes records of a unit, of a number and a request's id."""
    (key,) = own_keys(world.journal)
    return lambda seq, request_id: row(seq, unit=hashed(unit, key), unit_key_id=key_id(key), request_id=request_id)


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


def test_what_stands_in_the_way_in_a_dead_gateway_s_inbox_is_told_with_its_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fates(outcome("a"))
    world.die()
    own_keys(world.journal)

    def full(inbox: Inbox, units: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Inbox, "remove_units", full)
    with pytest.raises(ForgettingError, match=r"/outcomes/\.gw\.sqlite: database or disk is full"):
        forget(world.journal, "ann")


def test_a_dead_gateway_s_inbox_that_cannot_be_opened_is_told_with_its_name_and_nothing_goes(world: World) -> None:
    world.fates(outcome("a"))
    world.die()
    write_segment(world.journal, [of(world, "ann")(0, "r-0")])
    (inbox,) = (world.journal / "outcomes").glob(".*.sqlite")
    inbox.write_bytes(b"of a disk that is ill")
    with pytest.raises(ForgettingError, match=r"/outcomes/\.gw\.sqlite: file is not a database"):
        forget(world.journal, "ann")
    assert world.find("SELECT seq FROM records").rows == [(0,)]


def test_records_stay_while_outcomes_cannot_be_looked_into_since_they_say_whose_those_are(world: World) -> None:
    world.fates(outcome("a", unit="", request_id="r-0"), outcome("b", unit="bob"))
    world.end()
    write_segment(world.journal, [of(world, "ann")(0, "r-0"), row(1)])
    (file,) = (world.journal / "outcomes").rglob("*.parquet")
    whole = file.read_bytes()
    file.write_bytes(b"of a disk that is ill")
    done = forget(world.journal, "ann")
    assert (done.rows, list(done.unreadable)) == (0, [file.name])
    assert "not a Parquet file; the unit's records stay until it can be read" in done.unreadable[file.name]
    assert forget(world.journal, "carl").unreadable == {file.name: "not a Parquet file"}
    file.write_bytes(whole)
    assert (forget(world.journal, "ann").rows, world.ids()) == (2, ["b"])
    assert world.find("SELECT seq FROM records").rows == [(1,)]
