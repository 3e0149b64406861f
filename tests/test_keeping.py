"""Records are counted in any case, and kept where somebody asks for a journal."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.gateway.world import query
from tests.records import DECISION
from turnout_server.config import Config, JournalConfig
from turnout_server.instruments.instruments import Instruments
from turnout_server.journal.boot import Boot
from turnout_server.journal.reading import query as ask
from turnout_server.keeping import recording, taking


async def test_records_are_counted_and_kept_where_a_journal_is_asked_for(tmp_path: Path) -> None:
    instruments = Instruments()
    async with contextlib.AsyncExitStack() as stack:
        journal = JournalConfig(path=str(tmp_path))
        records = recording(journal, Boot("gw", "0" * 16), instruments, stack)
        record = records.ended(query(unit="u"), DECISION, "OK", 0)
        families = {family.name: dict(family.points) for family in instruments.families()}
        assert families["turnout.journal.offered"] == {(): 1}
        assert list(families["turnout.requests"].values()) == [1]
    found = ask(tmp_path, "SELECT instance, boot || '-' || seq, code FROM records").rows
    assert found == [("gw", record.request_id, "OK")]


async def test_without_a_journal_there_is_none_to_read_of() -> None:
    instruments = Instruments()
    async with contextlib.AsyncExitStack() as stack:
        recording(JournalConfig(), Boot("gw", "0" * 16), instruments, stack)
        assert not any(family.name.startswith("turnout.journal") for family in instruments.families())


async def test_without_a_journal_no_outcomes_are_taken() -> None:
    async with contextlib.AsyncExitStack() as stack:
        assert taking(Config(), Boot("gw", "0" * 16), Instruments(), stack) is None
