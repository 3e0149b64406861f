"""Where and when requests run."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from tests.gateway.world import SIGNATURE, Predictor, manifest, turns
from tests.serving.fakes import ManualExecutor
from turnout_server.errors import DeadlineExpiredError, QueueFullError, UnknownOutputError
from turnout_server.gateway.query import Timing
from turnout_server.gateway.runner import Runner, Workers, outputs_wanted
from turnout_server.gateway.statistics import EXACT_ROWS
from turnout_server.scheduling.admission import Admission
from turnout_server.scheduling.batcher import Batcher, Item
from turnout_server.scheduling.cost import CostModel
from turnout_server.store.manifest import DType, Signature, TensorSpec
from turnout_server.tensors import Array

WIDE = Signature((TensorSpec("x", DType.FP32, (-1, -1)),), SIGNATURE.outputs)


class Bench:
    """A runner, and what it reported."""

    def __init__(self, signature: Signature = SIGNATURE, *, inline_below_ns: float = 1e12, parallel: int = 1) -> None:
        self.executor = ManualExecutor()
        self.predictor = Predictor(manifest(signature=signature))
        self.recorded: list[tuple[int, int, int]] = []
        self.answers: list[tuple[list[Array] | None, Exception | None]] = []
        workers = Workers(asyncio.get_running_loop(), self.executor, parallel, inline_below_ns)
        self.runner = Runner(
            self.predictor,
            Batcher(Admission("price", 1, 4, 1 << 20), parallel),
            CostModel({1: 1000}),
            workers,
            lambda *run: self.recorded.append(run),
        )

    def ran(self, item: Item, outputs: list[Array] | None, error: Exception | None, timing: Timing) -> None:
        self.answers.append((outputs, error))

    def submit(self, rows: int = 1, width: int = 1, **options: Any) -> Item:
        inputs = {"x": np.ones((rows, width), np.float32)}
        return self.runner.submit(inputs, (), options.pop("deadline", None), options.pop("ran", self.ran), **options)

    async def work(self) -> None:
        self.executor.release()
        await turns()


async def test_a_short_run_takes_place_at_once_on_the_event_loop() -> None:
    bench = Bench()
    bench.submit()
    assert len(bench.answers) == 1
    assert bench.executor.jobs == []


async def test_a_long_run_takes_place_in_a_worker() -> None:
    bench = Bench(inline_below_ns=100)
    bench.submit()
    assert (bench.answers, len(bench.executor.jobs)) == ([], 1)
    await bench.work()
    assert len(bench.answers) == 1


async def test_many_rows_make_a_long_run_of_a_short_one() -> None:
    bench = Bench(inline_below_ns=10_000)
    bench.submit(rows=1)
    bench.submit(rows=64)
    assert (len(bench.answers), len(bench.executor.jobs)) == (1, 1)


async def test_a_wide_row_makes_a_long_run_too_where_the_width_is_the_callers() -> None:
    bench = Bench(WIDE, inline_below_ns=10_000)
    bench.submit(rows=1, width=1)
    bench.submit(rows=1, width=100_000)
    assert (len(bench.answers), len(bench.executor.jobs)) == (1, 1)


async def test_a_copy_never_runs_on_the_event_loop() -> None:
    bench = Bench()
    bench.submit(inline=False)
    assert (bench.answers, len(bench.executor.jobs)) == ([], 1)


async def test_what_waits_runs_when_what_runs_ends() -> None:
    bench = Bench(inline_below_ns=0)
    for _ in range(3):
        bench.submit()
    assert bench.runner.busy
    for answered in (1, 2, 3):
        assert len(bench.executor.jobs) == 1
        await bench.work()
        assert len(bench.answers) == answered
    assert not bench.runner.busy


async def test_what_has_piled_up_does_not_hold_up_the_loop() -> None:
    """Other work gets its turn between one run on the event loop and the next."""
    bench = Bench(inline_below_ns=10_000)
    bench.submit(rows=64)
    for _ in range(3):
        bench.submit()
    bench.executor.release()
    seen = []
    for _ in range(12):
        await asyncio.sleep(0)
        seen.append(len(bench.answers))
    assert {2, 3, 4} <= set(seen)


async def test_a_deadline_that_has_passed_is_refused_and_one_that_passes_while_waiting_is_told() -> None:
    bench = Bench(inline_below_ns=0)
    with pytest.raises(DeadlineExpiredError):
        bench.submit(deadline=0.0)
    bench.submit()
    waiting = bench.submit(deadline=1e18)
    waiting.deadline = 0.0
    await bench.work()
    assert [type(error) for _, error in bench.answers] == [type(None), DeadlineExpiredError]
    assert bench.predictor.runs == 1


async def test_a_full_queue_refuses_and_nothing_is_forgotten() -> None:
    bench = Bench(inline_below_ns=0)
    for _ in range(5):  # one runs, four wait
        bench.submit()
    with pytest.raises(QueueFullError):
        bench.submit()
    for _ in range(5):
        await bench.work()
    assert len(bench.answers) == 5


async def test_a_cancelled_request_is_not_run() -> None:
    bench = Bench(inline_below_ns=0)
    first, second = bench.submit(), bench.submit()
    assert not bench.runner.cancel(first)
    assert bench.runner.cancel(second)
    await bench.work()
    assert (bench.predictor.runs, len(bench.answers)) == (1, 1)


async def test_an_error_of_the_model_goes_to_its_own_request_and_the_next_one_runs() -> None:
    bench = Bench(inline_below_ns=0)
    bench.predictor.error = ZeroDivisionError()
    bench.submit()
    bench.submit()
    await bench.work()
    bench.predictor.error = None
    await bench.work()
    assert [type(error) for _, error in bench.answers] == [ZeroDivisionError, type(None)]


@pytest.mark.parametrize("inline_below_ns", [0.0, 1e12])
async def test_a_callback_that_fails_does_no_harm_to_other_requests(inline_below_ns: float) -> None:
    bench = Bench(inline_below_ns=inline_below_ns)
    problems: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context["exception"]))

    def broken(*answer: object) -> None:
        raise ZeroDivisionError

    bench.submit(ran=broken)
    bench.submit()
    while bench.executor.jobs:
        await bench.work()
    assert len(bench.answers) == 1
    assert [type(problem) for problem in problems] == [ZeroDivisionError]
    assert not bench.runner.busy


async def test_where_no_worker_takes_it_any_more_a_request_fails() -> None:
    bench = Bench(inline_below_ns=0)
    bench.executor.shutdown()
    bench.submit()
    ((_, error),) = bench.answers
    assert isinstance(error, RuntimeError)
    assert not bench.runner.busy


async def test_runs_are_counted_by_their_rows() -> None:
    bench = Bench()
    for rows in (1, 3, 3, 0):
        bench.submit(rows=rows)
    statistics = bench.runner.statistics
    assert statistics.execution_count == 4
    assert {rows: counts.compute_infer.count for rows, counts in statistics.batches.items()} == {1: 1, 3: 2, 0: 1}
    assert [rows for _, _, rows in bench.recorded] == [1, 3, 3, 0]


async def test_rows_that_callers_choose_do_not_fill_the_memory() -> None:
    bench = Bench()
    for rows in range(2000):
        bench.submit(rows=rows)
    sizes = bench.runner.statistics.batches
    assert set(sizes) == {*range(EXACT_ROWS + 1), 256, 512, 1024}
    assert sum(counts.compute_infer.count for counts in sizes.values()) == 2000


async def test_outputs_are_all_or_those_wanted_and_an_unknown_one_is_told() -> None:
    runner = Bench().runner
    assert outputs_wanted(runner, ()) == ("y", "version")
    assert outputs_wanted(runner, ("version",)) == ("version",)
    with pytest.raises(UnknownOutputError, match="no output named 'z'; the model has y, version"):
        outputs_wanted(runner, ("y", "z"))
