"""The view `outcomes` beside `records`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journal.journals import row, write_segment
from tests.outcomes.intakes import World, outcome
from turnout_server.journal import reading as journal_reading
from turnout_server.journal.reading import JournalQueryError
from turnout_server.journal.schema import FOLDERS
from turnout_server.outcomes import reading
from turnout_server.outcomes.schema import COLUMNS


def test_without_outcomes_the_view_is_empty_and_has_every_column(tmp_path: Path) -> None:
    with reading.connect(tmp_path) as connection:
        described = connection.execute("SELECT column_name FROM (DESCRIBE outcomes)").fetchall()
        assert [name for (name,) in described] == [*COLUMNS, *FOLDERS]
        assert connection.execute("SELECT count(*) FROM outcomes, records").fetchall() == [(0,)]


def test_both_views_can_be_joined_and_neither_has_the_others_rows(world: World) -> None:
    write_segment(world.journal, [row(0, request_id="r-0"), row(1, request_id="r-1")])
    world.fates(outcome("a", unit="", request_id="r-1", value=9.0))
    world.end()
    joined = world.find("SELECT r.seq, o.value FROM records r JOIN outcomes o USING (request_id)")
    assert joined.rows == [(1, 9.0)]
    assert [len(world.find(f"FROM {view}").rows) for view in ("records", "outcomes")] == [2, 1]


def test_a_damaged_file_is_left_out_and_named(world: World) -> None:
    for name in ("a", "b"):
        world.fates(outcome(name))
        world.pass_(60)
    damaged, _ = sorted(world.journal.glob("outcomes/date=*/hour=*/*"))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    answer = world.find("SELECT outcome_id FROM outcomes")
    assert answer.rows == [("b",)]
    assert list(answer.unreadable) == [damaged]


def test_who_reads_records_only_has_no_outcomes(world: World) -> None:
    with pytest.raises(JournalQueryError, match="outcomes"):
        journal_reading.query(world.journal, "FROM outcomes")
