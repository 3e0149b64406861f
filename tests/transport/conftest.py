"""What the tests of the transports talk with."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator

import msgspec
import pytest

from tests.transport.engine import Engine
from tests.transport.fakes import Behaviour, count, echo, echo_each, forever
from turnout_server.transport import engine as module

THERE = importlib.util.find_spec("turnout_engine") is not None


@pytest.fixture
async def behaviour() -> Behaviour:
    """A method of each kind, and one that never answers."""
    behaviour = Behaviour()
    behaviour.unary("Echo", echo)
    behaviour.unary("EchoInTask", echo, quick=False)
    behaviour.unary("Forever", forever)
    behaviour.server_stream("Count", count)
    behaviour.both_stream("EchoEach", echo_each)
    return behaviour


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """The engine, which a test tells what to serve."""
    if not THERE:
        pytest.skip("turnout-engine is not installed")
    engine = Engine()
    yield engine
    await engine.close()


@pytest.fixture
async def echoing(engine: Engine, behaviour: Behaviour) -> Engine:
    """The engine, serving a method of each kind."""
    engine.behaviour = behaviour
    await engine.start()
    return engine


@pytest.fixture
def few(engine: Engine) -> Engine:
    """The engine with places for four calls, of which the silent may have three."""
    engine.limits = msgspec.structs.replace(engine.limits, concurrent_calls=4)
    return engine


@pytest.fixture
def one_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine has one thread for all connections."""
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: {3}, raising=False)
