"""Copies of what the engine has answered are sent as all others are; here with an engine that only tells."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from tests.gateway.test_mirrors import MIRROR, Comparer, ask, outcomes, world_of
from tests.gateway.world import World, table, turns
from turnout_server.engine.copies import Answered, Dropped
from turnout_server.engine.plane import EnginePlane
from turnout_server.gateway.mirrors import Mirrors
from turnout_server.gateway.native_copies import EVERY_S, MOST, SELDOM_S, NativeCopies
from turnout_server.vocabulary.query import Prepare
from turnout_server.vocabulary.record import Record
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.tensors import Arrays

METHOD = "A/B"


class FakePlane:
    """Tells what it is given."""

    def __init__(self) -> None:
        self.answered: list[Answered] = []
        self.dropped: list[Dropped] = []
        self.asked: list[int] = []

    def copies(self, most: int) -> tuple[list[Answered], list[Dropped]]:
        self.asked.append(most)
        told, self.answered = self.answered[:most], self.answered[most:]
        dropped, self.dropped = self.dropped, []
        return told, dropped


def read(message: bytes) -> Prepare:
    if message == b"odd":
        raise ValueError("odd")

    def prepare(signature: Signature) -> Arrays:
        return {spec.name: np.full((1, 1), float(message), np.float32) for spec in signature.inputs}

    return prepare


def copying(world: World) -> tuple[FakePlane, NativeCopies]:
    plane, mirrors = FakePlane(), world.data_plane._mirrors
    assert isinstance(mirrors, Mirrors)
    return plane, NativeCopies(cast("EnginePlane", plane), world.names, mirrors, {METHOD: read})


async def answered(world: World, message: bytes = b"2") -> Answered:
    """Return what the engine would tell of a request: it is one that Python has answered."""
    await ask(world, request_id="mine")
    record: Record = next(one for one in reversed(world.ended) if one.copy_of < 0)
    return Answered([0], METHOD, message, {"y": np.array([[20.0]], np.float32)}, record)


async def test_a_copy_is_sent_compared_and_recorded(tmp_path: Path) -> None:
    comparer = Comparer()
    world = await world_of(tmp_path, comparer)
    plane, copies = copying(world)
    assert not copies.fetch()
    plane.answered = [await answered(world)]
    before = len(comparer.pairs)
    assert copies.fetch()
    await turns()
    assert not copies.fetch()
    pair, _ = comparer.pairs[before]
    assert (pair.record.request_id, pair.mirror.model, pair.copied.model) == ("mine", "rank", "rank")
    assert pair.original["y"].tolist() == pair.copy["y"].tolist() == [[20.0]]


async def test_a_request_is_copied_by_the_table_that_decided_it(tmp_path: Path) -> None:
    world = await world_of(tmp_path)
    plane, copies = copying(world)
    plane.answered = [await answered(world)]
    plane.dropped = [Dropped(plane.answered[0].record.decision, 0, 3)]  # type: ignore[arg-type]
    world.routes(table("only price champion 1", route="cost"))
    await world.look()
    assert copies.fetch()
    await turns()
    assert outcomes(world) == {"sent": 2, "dropped": 3}, "the first is Python's own"


async def test_of_a_table_that_nobody_remembers_there_are_no_copies(tmp_path: Path) -> None:
    world = await world_of(tmp_path)
    plane, copies = copying(world)
    told = await answered(world)
    assert told.record.decision is not None
    strange = told.record._replace(decision=told.record.decision._replace(table_digest="strange"))
    plane.answered = [told._replace(record=strange)]
    copies.fetch()
    for number in range(20):
        world.routes(table("only price champion 1", route="cost", more=f"{MIRROR}# {number}\n"))
        await world.look()
    plane.answered = [told]
    copies.fetch()
    assert (outcomes(world), len(copies._tables)) == ({"sent": 1}, 16)


async def test_one_that_cannot_be_read_does_not_keep_the_next(tmp_path: Path) -> None:
    world = await world_of(tmp_path)
    plane, copies = copying(world)
    told = await answered(world)
    plane.answered = [told._replace(message=b"odd"), told]
    assert copies.fetch()
    await turns()
    assert outcomes(world) == {"sent": 2}


async def test_no_more_are_fetched_than_there_is_room_for(tmp_path: Path) -> None:
    world = await world_of(tmp_path, slow=True, limit=3)
    plane, copies = copying(world)
    task = asyncio.create_task(ask(world, request_id="mine"))
    await turns()
    await world.run_held()  # the request; its copy is under way now
    await task
    record = next(one for one in world.ended if one.copy_of < 0)
    plane.answered = [Answered([0], METHOD, b"2", {"y": np.array([[20.0]], np.float32)}, record)]
    following = asyncio.create_task(copies.follow())
    await turns()
    following.cancel()
    assert plane.asked == [2]
    await world.run_held(2)
    assert outcomes(world) == {"sent": 2}


async def test_what_is_left_at_the_end_is_dropped(tmp_path: Path) -> None:
    world = await world_of(tmp_path)
    plane, copies = copying(world)
    plane.answered = [await answered(world)] * (MOST + 1)
    assert isinstance(world.data_plane._mirrors, Mirrors)
    world.data_plane._mirrors.close()
    copies.close()
    assert (plane.answered, outcomes(world)) == ([], {"sent": 1, "dropped": MOST + 1})


async def test_where_no_route_has_a_mirror_the_engine_is_asked_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "store")
    world.publish("price", "champion")
    world.publish("rank", "champion")
    world.routes(table("a price champion 1"))
    await world.start()
    plane, copies = copying(world)
    waits: list[float] = []
    sleep = asyncio.sleep

    async def slept(seconds: float) -> None:
        await sleep(0)
        if seconds:
            waits.append(seconds)
            world.routes(table("a price champion 1", more=MIRROR))
            await world.look()
        if len(waits) == 2:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", slept)
    with pytest.raises(asyncio.CancelledError):
        await copies.follow()
    assert (waits, len(plane.asked)) == ([SELDOM_S, EVERY_S], 2)
