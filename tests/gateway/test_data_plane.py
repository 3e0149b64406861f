"""How a request is served: who answers it and why, what is counted, and what is left behind, which is nothing."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.gateway.world import World, query, table, turns
from turnout_server.vocabulary.decision import Reason
from turnout_server.vocabulary.errors import (
    DeadlineExpiredError,
    InvalidInputError,
    LabelNotFoundError,
    ModelNotFoundError,
    RouteNotFoundError,
    TaskMismatchError,
    TurnoutError,
    UnknownOutputError,
    VersionNotFoundError,
    VersionUnavailableError,
)
from turnout_server.vocabulary.query import Query
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Arrays
from turnout_server.vocabulary.versions import VersionKey

ONE, TWO, RANK = VersionKey("price", 1), VersionKey("price", 2), VersionKey("rank", 1)
OVERRIDES = '    overrides:\n      - {when: {header: {x-qa: "on"}}, target: canary}\n'
MIRROR = "    mirrors:\n      - {model: rank, version: champion, fraction: 0.5}\n"
TARGETS = ("control price champion 1", "canary price challenger 0")


async def make(root: Path, more: str = "", **options: Any) -> World:
    """Serve `cost`: all to champion, version 1; challenger, version 2, gets what is sent there on purpose."""
    world = World(root / "store", **options)
    world.publish("price", "champion")
    world.publish("price", "challenger")
    world.publish("rank", "champion")
    world.routes(table(*TARGETS, route="cost", more=more))
    return await world.start()


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await make(tmp_path, OVERRIDES)


@pytest.fixture
async def slow(tmp_path: Path) -> World:
    """Every run takes place in a worker, when it is told to."""
    return await make(tmp_path, slow=True)


@pytest.fixture
async def mirrored(tmp_path: Path) -> World:
    """Half of the requests are copied to `rank`, where the draw says so; runs take place when they are told to."""
    return await make(tmp_path, MIRROR, slow=True)


# ---------------------------------------------------------------- who answers


@pytest.mark.parametrize(
    ("fields", "version", "target", "reason"),
    [
        ({"name": "cost", "unit": "u"}, 1, "control", Reason.SPLIT),
        ({"name": "cost"}, 1, "control", Reason.UNSTICKY),
        ({"name": "cost", "unit": "u", "headers": {"x-qa": "on"}}, 2, "canary", Reason.OVERRIDE),
        ({"name": "cost", "version": "2"}, 2, "", Reason.PINNED),
        ({"name": "cost", "version": "challenger"}, 2, "", Reason.PINNED),
        ({"name": "price"}, 1, "", Reason.NAMED),
        ({"name": "price", "version": "champion"}, 1, "", Reason.PINNED),
        ({"name": "price", "version": "001"}, 1, "", Reason.PINNED),
    ],
)
async def test_every_answer_says_who_gave_it_and_why(
    world: World, fields: dict[str, Any], version: int, target: str, reason: Reason
) -> None:
    prediction = await world.data_plane.infer(query(**fields))
    route = "" if reason in (Reason.PINNED, Reason.NAMED) else "cost"
    assert prediction.decision[:5] == (route, target, "price", version, reason)
    assert prediction.outputs["version"].tolist() == [version]


@pytest.mark.parametrize(
    ("name", "version", "error"),
    [
        ("nothing", "", RouteNotFoundError),
        ("nothing", "1", RouteNotFoundError),
        ("price", "9", VersionNotFoundError),
        ("price", "9" * 200, VersionNotFoundError),
        ("price", "nolabel", LabelNotFoundError),
        ("price", "../../etc", LabelNotFoundError),
    ],
)
async def test_what_does_not_exist_is_told(world: World, name: str, version: str, error: type[TurnoutError]) -> None:
    with pytest.raises(error):
        await world.data_plane.infer(query(name, version=version))


async def test_a_route_over_several_models_has_no_versions_of_its_own(world: World) -> None:
    world.routes(table("a price 1 1", "b rank 1 1", route="cost"))
    await world.look()
    with pytest.raises(ModelNotFoundError):
        await world.data_plane.infer(query("cost", version="1"))


async def test_a_version_in_the_store_that_is_not_loaded_is_unavailable(world: World) -> None:
    world.held.add(VersionKey("price", 3))
    world.publish()
    await world.look()
    with pytest.raises(VersionUnavailableError, match="LOADING"):
        await world.data_plane.infer(query("price", version="3"))
    await world.released(VersionKey("price", 3))


async def test_the_fallback_answers_for_a_target_that_is_not_available(tmp_path: Path) -> None:
    world = World(tmp_path / "store")
    world.publish("price", "champion")
    world.broken.add(TWO)
    world.publish("price", "challenger")
    targets = ("control price champion 0", "canary price challenger 1")
    world.routes(table(*targets, route="cost", more="    fallback: control\n"))
    await world.start()
    assert (await world.data_plane.infer(query("cost", unit="u"))).decision[:5] == (
        "cost", "control", "price", 1, Reason.FALLBACK,
    )  # fmt: skip
    world.routes(table(*targets, route="cost"))
    await world.look()


async def test_without_a_fallback_a_target_that_is_not_available_is_an_error(world: World) -> None:
    await world.administration.unload("price")
    with pytest.raises(VersionUnavailableError):
        await world.data_plane.infer(query("cost", unit="u"))


@pytest.mark.parametrize("name", ["cost", "price"])
async def test_a_typed_request_for_another_task_is_refused(world: World, name: str) -> None:
    with pytest.raises(TaskMismatchError):
        await world.data_plane.infer(query(name, task=Task.RANKING))
    assert world.leases() == 0


# ---------------------------------------------------------------- inputs and outputs


async def test_only_the_outputs_wanted_are_given_in_the_order_wanted(world: World) -> None:
    prediction = await world.data_plane.infer(query("cost", x=2.0, rows=3, outputs=("version", "y")))
    assert list(prediction.outputs) == ["version", "y"]
    assert prediction.outputs["y"].tolist() == [[20], [20], [20]]
    with pytest.raises(UnknownOutputError):
        await world.data_plane.infer(query("cost", outputs=("z",)))
    assert world.leases() == 0


async def test_a_request_without_rows_is_answered(world: World) -> None:
    prediction = await world.data_plane.infer(query("cost", rows=0))
    assert prediction.outputs["y"].shape == (0, 1)


@pytest.mark.parametrize("error", [InvalidInputError("x", "is odd"), ZeroDivisionError()])
async def test_inputs_that_do_not_fit_fail_their_request_and_nothing_else(world: World, error: Exception) -> None:
    def prepare(signature: Signature) -> Arrays:
        raise error

    with pytest.raises(type(error)):
        await world.data_plane.infer(query("cost", prepare=prepare))
    assert world.leases() == 0
    assert await world.version(name="cost") == 1


async def test_a_deadline_that_has_passed_is_told_and_nothing_runs(world: World) -> None:
    with pytest.raises(DeadlineExpiredError):
        await world.data_plane.infer(query("cost", deadline=0.0))
    assert world.predictors[ONE].runs == 0
    assert world.leases() == 0


# ---------------------------------------------------------------- counting


async def test_statistics_add_up(world: World) -> None:
    for rows in (1, 2, 5):
        await world.data_plane.infer(query("cost", rows=rows))
    world.predictors[ONE].error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await world.data_plane.infer(query("cost"))
    counts = dict(world.catalog.statistics())[ONE]
    assert (counts.inference_count, counts.execution_count) == (8, 3)
    assert (counts.success.count, counts.fail.count, counts.queue.count) == (3, 1, 3)
    parts = (counts.queue, counts.compute_input, counts.compute_infer, counts.compute_output)
    assert sum(part.ns for part in parts) <= counts.success.ns
    assert counts.last_inference_ms > 0


async def test_every_request_is_counted_once_by_who_answered_and_how_it_ended(world: World) -> None:
    await world.version(name="cost", unit="u")
    await world.version(name="price")
    with pytest.raises(DeadlineExpiredError):
        await world.data_plane.infer(query("cost", unit="u", deadline=0.0))
    assert world.counted("turnout.requests") == {
        ("cost", "control", "price", 1, "SPLIT", "OK"): 1,
        ("cost", "control", "price", 1, "SPLIT", "DEADLINE_EXPIRED"): 1,
        ("", "", "price", 1, "NAMED", "OK"): 1,
    }


async def test_names_that_callers_make_up_do_not_become_labels(world: World) -> None:
    for number in range(20):
        for fields in ({"name": f"made-up-{number}"}, {"name": "price", "version": f"label-{number}"}):
            with pytest.raises(TurnoutError):
                await world.data_plane.infer(query(**fields))
    with pytest.raises(TaskMismatchError):
        await world.data_plane.infer(query("cost", task=Task.RANKING))
    assert world.counted("turnout.requests") == {
        ("", "", "", "", "", "ROUTE_NOT_FOUND"): 20,
        ("", "", "", "", "", "LABEL_NOT_FOUND"): 20,
        ("cost", "", "", "", "", "TASK_MISMATCH"): 1,
    }


# ---------------------------------------------------------------- callers who go away


async def test_a_caller_who_goes_while_waiting_leaves_the_queue_and_no_lease(slow: World) -> None:
    running = [asyncio.create_task(slow.data_plane.infer(query("cost"))) for _ in range(2)]
    await turns()
    waiting = asyncio.create_task(slow.data_plane.infer(query("cost")))
    await turns()
    assert slow.leases() == 3
    waiting.cancel()
    await turns()
    assert waiting.cancelled()
    assert slow.leases() == 2
    await slow.run_held(2)
    assert slow.predictors[ONE].runs == 2
    await asyncio.gather(*running)
    assert slow.leases() == 0


async def test_a_caller_who_goes_while_the_model_runs_keeps_the_version_until_it_has_run(slow: World) -> None:
    task = asyncio.create_task(slow.data_plane.infer(query("cost")))
    await turns()
    task.cancel()
    await turns()
    assert slow.leases() == 1
    unloading = asyncio.create_task(slow.administration.unload("price"))
    await turns()
    assert not slow.predictors[ONE].closed
    await slow.run_held()
    await unloading
    assert slow.predictors[ONE].closed
    assert slow.leases() == 0


async def test_cancelled_requests_are_counted_as_such(slow: World) -> None:
    tasks = [asyncio.create_task(slow.data_plane.infer(query("cost", unit="u"))) for _ in range(3)]
    await turns()
    tasks[2].cancel()
    await slow.run_held(2)
    await turns()
    codes = {labels[-1]: count for labels, count in slow.counted("turnout.requests").items()}
    assert codes == {"OK": 2, "CANCELLED": 1}


async def test_requests_that_are_refused_for_want_of_room_leave_no_lease(slow: World) -> None:
    tasks = [asyncio.create_task(slow.data_plane.infer(query("cost"))) for _ in range(15)]
    await turns()
    refused = [task.exception() for task in tasks if task.done()]
    assert len(refused) == 5  # two run, eight wait
    assert slow.leases() == 10
    await slow.run_held(10)
    await turns()
    assert slow.leases() == 0


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("in_a_worker", [False, True])
async def test_a_request_leaves_nothing_to_the_garbage_collector(
    tmp_path: Path, fails: bool, in_a_worker: bool
) -> None:
    """Its arrays may be large: they go when the answer goes, not when the collector comes by."""
    world = await make(tmp_path, slow=in_a_worker)
    world.runs.held = lambda args: False

    async def ask() -> None:
        try:
            await world.data_plane.infer(query("cost", outputs=("z",) if fails else ()))
        except UnknownOutputError:
            assert fails

    await ask()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            await ask()
        assert gc.collect() == 0
    finally:
        gc.enable()


async def test_the_callback_is_called_once_and_never_for_a_flight_that_was_cancelled(slow: World) -> None:
    answers: list[object] = []
    flights = [slow.data_plane.start(query("cost"), lambda *answer: answers.append(answer)) for _ in range(3)]
    flights[0].cancel()  # it runs already
    flights[2].cancel()  # it waits
    flights[2].cancel()
    await slow.run_held(2)
    assert len(answers) == 1
    assert slow.leases() == 0


async def test_a_call_that_is_cancelled_for_its_deadline_is_no_caller_who_went(slow: World) -> None:
    asked = query("cost", deadline=time.monotonic() + 3600.0)
    flight = slow.data_plane.start(asked, lambda *answer: None)
    msgspec.structs.force_setattr(asked, "deadline", 0.0)
    flight.cancel()
    assert [record.code for record in slow.ended] == ["DEADLINE_EXPIRED"]
    await slow.run_held(1)
    assert slow.leases() == 0


# ---------------------------------------------------------------- mirrors


def mirrors(world: World) -> dict[str, int]:
    """Return how many copies ended how."""
    return {labels[-1]: count for labels, count in world.counted("turnout.mirrors").items()}


async def ask(world: World, count: int = 1, **fields: Any) -> None:
    """Send requests one after the other, and let each run; copies are left where they are."""
    for _ in range(count):
        task = asyncio.create_task(world.data_plane.infer(query("cost", **fields)))
        await turns()
        index = next(i for i, job in enumerate(world.runs.jobs) if job.args[0].batch.items[0].inline)
        world.runs.release(index)
        await task
        await turns()


async def test_a_copy_is_sent_after_the_answer_and_counted(mirrored: World) -> None:
    happened: list[str] = []
    mirrored.runs.on_submit = lambda args: happened.append("run")

    def answered(*answer: object) -> None:
        happened.append("answer")
        asyncio.get_running_loop().call_soon(happened.append, "written")  # as a transport would

    mirrored.data_plane.start(query("cost"), answered)
    await mirrored.run_held()
    assert happened == ["run", "answer", "written", "run"]
    assert mirrors(mirrored) == {}
    await mirrored.run_held()
    assert mirrored.predictors[RANK].runs == 1
    assert mirrors(mirrored) == {"sent": 1}
    assert mirrored.leases() == 0


async def test_only_the_fraction_that_is_drawn_is_copied(tmp_path: Path) -> None:
    draws = iter([0.9, 0.5, 0.9, 0.49])
    world = await make(tmp_path, MIRROR, slow=True, draw=lambda: next(draws))
    await ask(world, 2)  # without a unit, the assignment takes one draw and the mirror the other
    assert len(world.runs.jobs) == 1
    assert next(draws, None) is None
    await world.run_held()


async def test_a_failed_request_is_not_copied(mirrored: World) -> None:
    mirrored.predictors[ONE].error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await ask(mirrored)
    assert mirrored.runs.jobs == []
    assert mirrors(mirrored) == {}


async def test_copies_are_bounded_in_number_and_dropped_beyond(mirrored: World) -> None:
    await ask(mirrored, 5)
    assert mirrors(mirrored) == {"dropped": 3}
    await mirrored.run_held(2)
    assert mirrors(mirrored) == {"dropped": 3, "sent": 2}
    await ask(mirrored)
    await mirrored.run_held()
    assert mirrors(mirrored) == {"dropped": 3, "sent": 3}


async def test_copies_give_way_to_requests(mirrored: World) -> None:
    busy = [asyncio.create_task(mirrored.data_plane.infer(query("rank"))) for _ in range(2)]
    await turns()
    task = asyncio.create_task(mirrored.data_plane.infer(query("cost")))
    await turns()
    mirrored.runs.release(2)
    await task
    await turns()
    assert mirrors(mirrored) == {"dropped": 1}
    await mirrored.run_held(2)
    await asyncio.gather(*busy)


async def test_a_copy_that_fails_or_never_ends_does_not_show(mirrored: World) -> None:
    mirrored.predictors[RANK].error = ZeroDivisionError()
    await ask(mirrored, 2)  # neither copy has run yet, and both requests are answered
    await mirrored.run_held(2)
    assert mirrors(mirrored) == {"failed": 2}
    assert mirrored.leases() == 0


@pytest.mark.parametrize("error", [InvalidInputError("x", "is odd"), ZeroDivisionError()])
async def test_a_copy_that_does_not_fit_the_mirror_is_counted_and_holds_nothing(
    mirrored: World, error: Exception
) -> None:
    for _ in range(5):
        calls = 0

        def prepare(signature: Signature) -> Arrays:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise error
            return {"x": np.ones((1, 1), np.float32)}

        await ask(mirrored, prepare=prepare)
    assert mirrors(mirrored) == {"failed": 5}
    assert mirrored.leases() == 0


async def test_a_mirror_that_is_not_available_is_counted(mirrored: World) -> None:
    await mirrored.administration.unload("rank")
    await ask(mirrored)
    assert mirrors(mirrored) == {"failed": 1}


async def test_a_caller_who_has_gone_gets_no_copies_made(mirrored: World) -> None:
    task = asyncio.create_task(mirrored.data_plane.infer(query("cost")))
    await turns()
    task.cancel()
    await mirrored.run_held()
    await turns()
    assert mirrored.runs.jobs == []


def test_a_query_asks_for_nothing_special_by_default() -> None:
    asked = Query(name="price", prepare=lambda signature: {})
    assert (asked.version, asked.outputs, asked.task, asked.unit, asked.deadline) == ("", (), None, "", None)
