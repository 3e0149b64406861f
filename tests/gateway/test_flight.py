"""Every request ends in one record, whatever became of it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gateway.world import World, query, table, turns
from turnout_server.tasks.features import pack
from turnout_server.vocabulary.decision import Reason
from turnout_server.vocabulary.errors import InvalidInputError, TurnoutError
from turnout_server.vocabulary.query import Prediction
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.versions import VersionKey


async def world_of(tmp_path: Path, *, slow: bool = False) -> World:
    world = World(tmp_path / "store", slow=slow)
    world.publish("price", "champion")
    world.routes(table("only price champion 1", route="cost"))
    return await world.start()


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await world_of(tmp_path)


@pytest.fixture
async def slow(tmp_path: Path) -> World:
    return await world_of(tmp_path, slow=True)


async def test_odd_features_are_counted_once_whatever_becomes_of_the_request(world: World) -> None:
    columns = {"x": np.array([math.nan, 1.0, 2.0], np.float32)}
    await world.data_plane.infer(query("cost", prepare=lambda signature: pack(signature, columns, 3)))
    world.predictors[VersionKey("price", 1)].error = InvalidInputError("x", "is odd")
    with pytest.raises(TurnoutError):
        await world.data_plane.infer(query("cost", prepare=lambda signature: pack(signature, columns, 3)))
    world.predictors[VersionKey("price", 1)].error = None
    await world.data_plane.infer(query("cost"))
    points = {family.name: dict(family.points) for family in world.instruments.families()}
    assert points["turnout.feature.rows"] == {("price", 1): 6}, "tensors are no features"
    assert points["turnout.features.odd"] == {("price", 1, "x", "nan"): 2}


def refuse(signature: object) -> Any:
    raise InvalidInputError("x", "is odd")


@pytest.mark.parametrize(
    ("fields", "code", "decided"),
    [
        ({"name": "cost", "unit": "u"}, "OK", True),
        ({"name": "cost", "outputs": ("z",)}, "OUTPUT_UNKNOWN", True),
        ({"name": "cost", "prepare": refuse}, "INPUT_INVALID", True),
        ({"name": "cost", "deadline": 0.0}, "DEADLINE_EXPIRED", True),
        ({"name": "price", "task": Task.RANKING}, "TASK_MISMATCH", True),
        ({"name": "cost", "task": Task.RANKING}, "TASK_MISMATCH", False),
        ({"name": "nothing"}, "ROUTE_NOT_FOUND", False),
        ({"name": "price", "version": "7"}, "VERSION_NOT_FOUND", False),
    ],
)
async def test_each_end_is_one_record(world: World, fields: dict[str, Any], code: str, decided: bool) -> None:
    answered: list[Prediction] = []
    with contextlib.suppress(TurnoutError):
        answered.append(await world.data_plane.infer(query(**fields)))
    (record,) = world.ended
    assert [prediction.request_id for prediction in answered] == (["boot-0"] if code == "OK" else [])
    assert (record.code, record.decision is not None, record.seq) == (code, decided, 0 if decided else -1)
    assert record.route == ("cost" if fields["name"] == "cost" else "")
    assert world.leases() == 0


async def test_a_refusal_for_want_of_a_version_is_a_record_with_its_decision(world: World) -> None:
    await world.administration.unload("price")
    with pytest.raises(TurnoutError):
        await world.data_plane.infer(query("cost", unit="u"))
    (record,) = world.ended
    assert record.decision is not None
    assert (record.code, record.decision.reason, record.decision.assigned, record.decision.available) == (
        "VERSION_UNAVAILABLE", Reason.SPLIT, "only", False,
    )  # fmt: skip


@pytest.mark.parametrize("running", [True, False])
async def test_a_caller_who_goes_is_one_record_whether_the_request_waits_or_runs(slow: World, running: bool) -> None:
    first = asyncio.create_task(slow.data_plane.infer(query("cost")))
    await turns()
    second = asyncio.create_task(slow.data_plane.infer(query("cost")))
    await turns()
    gone = first if running else second
    gone.cancel()
    await turns()
    assert [record.code for record in slow.ended] == ["CANCELLED"]
    await slow.run_held(len(slow.runs.jobs))
    await turns()
    await slow.run_held(len(slow.runs.jobs))
    await turns()
    assert sorted(record.code for record in slow.ended) == ["CANCELLED", "OK"]
    assert slow.leases() == 0
    counts = dict(slow.catalog.statistics())[next(iter(slow.predictors))]
    assert (counts.success.count, counts.fail.count, counts.inference_count) == (1, 1, 1)
