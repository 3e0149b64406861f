"""Runs in threads are counted once for both data planes."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

import pytest

pytest.importorskip("turnout_engine")

from turnout_server.config import LimitsConfig
from turnout_server.engine.plane import EnginePlane
from turnout_server.engine.shares import EngineShares


class Version:
    """One that wants to run."""

    def __init__(self, number: int) -> None:
        self.number = number


@pytest.fixture
def plane() -> EnginePlane:
    return EnginePlane(LimitsConfig(), runs=1, threads=2, boot="b")


def test_every_version_may_have_one_run_and_there_is_an_end_to_the_threads(plane: EnginePlane) -> None:
    shares, (one, two, three) = EngineShares(plane, 2), map(Version, (1, 2, 3))
    assert shares.start_or_want(one, 1.0)
    assert (shares.idle, plane.inner.runs) == (1, 1)
    assert not shares.start_or_want(one, 1.0)
    shares.forgo(one)
    assert shares.start_or_want(two, 1.0)
    assert not shares.start_or_want(three, 1.0)
    assert (shares.idle, shares.start_next()) == (0, None)
    shares.finish(one)
    assert shares.start_next() is three
    assert (shares.idle, shares.start_next()) == (0, None), "it counts as started"


def test_who_has_gone_when_its_turn_comes_leaves_the_thread_to_the_next(plane: EnginePlane) -> None:
    shares, (one, two) = EngineShares(plane, 2), map(Version, (1, 2))
    gone, last = Version(3), Version(4)
    for version in (one, two):
        assert shares.start_or_want(version, 1.0)
    for version in (gone, last):
        assert not shares.start_or_want(version, 1.0)
    del version, gone
    last, kept = Version(5), last
    assert not shares.start_or_want(last, 1.0)
    gc.collect()
    shares.finish(one)
    assert shares.start_next() is kept
    shares.finish(two)
    assert shares.start_next() is last


async def test_who_waits_is_told_whoever_has_freed_a_thread(plane: EnginePlane) -> None:
    """An end that another thread has told the engine of wakes the event loop."""
    shares, (one, two, three) = EngineShares(plane, 2), map(Version, (1, 2, 3))
    told = asyncio.Queue[object]()
    with shares.telling(asyncio.get_running_loop(), lambda: told.put_nowait(shares.start_next())):
        for version in (one, two):
            assert shares.start_or_want(version, 1.0)
        assert not shares.start_or_want(three, 1.0)
        await asyncio.to_thread(partial(plane.inner.finish, 1))
        assert await asyncio.wait_for(told.get(), 20) is three
