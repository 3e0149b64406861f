"""What the composition root decides by itself; the rest is seen in `tests/e2e`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.tiny_store import make_store
from tests.gateway.world import query
from tests.records import DECISION
from turnout_server import app, ends
from turnout_server.app import _recording
from turnout_server.config import Config, JournalConfig, StoreConfig
from turnout_server.gateway.catalog import Catalog
from turnout_server.gateway.reconciler import Reconciler
from turnout_server.instruments.instruments import Instruments
from turnout_server.journal.boot import Boot
from turnout_server.journal.reading import query as ask
from turnout_server.vocabulary.errors import StoreError


async def test_records_are_counted_and_kept_where_a_journal_is_asked_for(tmp_path: Path) -> None:
    instruments = Instruments()
    async with contextlib.AsyncExitStack() as stack:
        journal = JournalConfig(path=str(tmp_path))
        records = _recording(journal, Boot("gw", "0" * 16), instruments, stack)
        record = records.ended(query(unit="u"), DECISION, "OK", 0)
        families = {family.name: dict(family.points) for family in instruments.families()}
        assert families["turnout.journal.offered"] == {(): 1}
        assert list(families["turnout.requests"].values()) == [1]
    found = ask(tmp_path, "SELECT instance, boot || '-' || seq, code FROM records").rows
    assert found == [("gw", record.request_id, "OK")]


async def test_without_a_journal_there_is_none_to_read_of() -> None:
    instruments = Instruments()
    async with contextlib.AsyncExitStack() as stack:
        _recording(JournalConfig(), Boot("gw", "0" * 16), instruments, stack)
        assert not any(family.name.startswith("turnout.journal") for family in instruments.families())


async def test_a_port_is_bound_when_the_names_of_the_store_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks a gateway that starts is told to try elsewhere, never that a route does not exist."""
    routes: list[str] = []
    services_of = app.services_of

    def services(data_plane: Any, catalog: Catalog, *more: Any) -> Any:
        routes.extend(route.name for route in catalog.table)
        return services_of(data_plane, catalog, *more)

    @contextlib.asynccontextmanager
    async def listening(*anything: Any, **more: Any) -> AsyncIterator[None]:
        bound.extend(routes)
        raise OSError("enough seen")
        yield

    bound: list[str] = []
    monkeypatch.setattr(app, "services_of", services)
    monkeypatch.setattr(app, "listening", listening)
    make_store(tmp_path)
    with pytest.raises(OSError, match="enough seen"):
        await app.serve(Config(store=StoreConfig(path=str(tmp_path))), lambda started: None, asyncio.Event())
    assert "price" in bound


async def test_a_gateway_is_stopped_while_its_first_look_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, stop, go_on = asyncio.Event(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    lookers: list[threading.Thread] = []

    def slowly(reconciler: Reconciler) -> None:
        lookers.append(threading.current_thread())
        loop.call_soon_threadsafe(looking.set)
        go_on.wait(30)

    monkeypatch.setattr(Reconciler, "_take_look", slowly)
    make_store(tmp_path)
    serving = asyncio.create_task(app.serve(Config(store=StoreConfig(path=str(tmp_path))), never, stop))
    await looking.wait()
    assert ends.code_for(lookers) == 0, "nobody misses a look"
    stop.set()
    await serving
    go_on.set()


async def test_a_store_that_cannot_be_read_at_first_ends_the_process(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        await app.serve(Config(store=StoreConfig(path=str(tmp_path / "none"))), never, asyncio.Event())


def never(started: app.Started) -> None:
    raise AssertionError
