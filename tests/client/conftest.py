"""A fake gateway, and both clients behind one blocking face, so that every rule holds for both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from contextvars import copy_context
from typing import Any

import pytest

import turnout
from tests.client.fake import FakeGateway

Connect = Callable[..., Any]


class Awaited:
    """An `AsyncClient` whose methods block, each run to its end on one event loop."""

    def __init__(self, runner: asyncio.Runner, client: turnout.AsyncClient) -> None:
        self._runner, self._client = runner, client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._runner.run(
            getattr(self._client, name)(*args, **kwargs), context=copy_context()
        )


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    fake = FakeGateway()
    yield fake
    fake.stop()


@pytest.fixture(params=["Client", "AsyncClient"])
def connect(request: pytest.FixtureRequest, gateway: FakeGateway) -> Iterator[Connect]:
    """Make a client of either kind: `connect(timeout=1)`, of the fake gateway unless `target` says otherwise."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())

        def make(target: str | None = None, **settings: Any) -> Any:
            client: Any = getattr(turnout, request.param)(target or gateway.target, **settings)
            if request.param == "AsyncClient":
                client = Awaited(runner, client)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def client(connect: Connect) -> Any:
    return connect()
