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
from turnout_server import app, ends
from turnout_server.config import Config, StoreConfig
from turnout_server.gateway.catalog import Catalog
from turnout_server.gateway.reconciler import Reconciler
from turnout_server.vocabulary.errors import StoreError


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
