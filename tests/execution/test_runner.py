"""Where and when requests run."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper, numpy_helper

from tests.gateway.world import SIGNATURE, Predictor, manifest, turns
from tests.onnx.graphs import FLOAT, INT64, graph, saved, value
from tests.serving.fakes import ManualExecutor
from turnout_server.execution import runner
from turnout_server.execution.batch_run import Execution
from turnout_server.execution.runner import Runner
from turnout_server.execution.workers import Workers
from turnout_server.instruments.statistics import EXACT_ROWS
from turnout_server.onnx.trial import load
from turnout_server.scheduling.admission import Admission, Bounds, Room
from turnout_server.scheduling.batcher import Batcher, Rules
from turnout_server.scheduling.copies import Load
from turnout_server.scheduling.cost import CostModel
from turnout_server.scheduling.item import Item
from turnout_server.scheduling.shares import Shares
from turnout_server.store.manifest import Manifest
from turnout_server.vocabulary.errors import (
    DeadlineExpiredError,
    DeadlineUnreachableError,
    QueueFullError,
)
from turnout_server.vocabulary.record import Timing
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import Array, Arrays

WIDE = Signature((TensorSpec("x", DType.FP32, (-1, -1)),), SIGNATURE.outputs)
ALONE = Signature(SIGNATURE.inputs, SIGNATURE.outputs, batched=False)
INLINE = Rules(inline_below_ns=1e12)
THREADED = Rules(inline_below_ns=0.0)


class Ending:
    """Tells what it was told."""

    has_ended = False

    def end(self) -> None:
        self.has_ended = True


class Endable(Predictor):
    """Its runs can be ended, and fail then."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self.endings: list[Ending] = []

    def ending(self) -> Ending:
        self.endings.append(Ending())
        return self.endings[-1]

    def run(self, inputs: Arrays, outputs: tuple[str, ...] = (), ending: Any = None) -> list[Array]:
        if ending.has_ended:
            raise RuntimeError("ended")
        return super().run(inputs, outputs)


class Bench:
    """A runner, and what it reported. Requests are one of many, unless `alone` says otherwise."""

    def __init__(
        self,
        rules: Rules = INLINE,
        signature: Signature = SIGNATURE,
        *,
        cores: int = 1,
        alone: bool = False,
        room: int = 1000,
        row_ns: int = 1000,
        predictor: Callable[[Manifest], Predictor] = Predictor,
        beside: Bench | None = None,
    ) -> None:
        self.executor = beside.executor if beside else ManualExecutor()
        self.predictor = predictor(manifest(signature=signature))
        self.runs: list[int] = []
        self.answers: list[tuple[list[Array] | None, Exception | None]] = []
        self.timings: list[Timing] = []
        self.shares = beside.shares if beside else Shares(cores, cores, cores)
        bounds = Bounds(room, 1 << 30)
        costs = CostModel({1: row_ns})
        self.runner = Runner(
            self.predictor,
            Batcher(Admission("price", 1, Room(bounds), Room(bounds)), costs, rules),
            costs,
            Workers(asyncio.get_running_loop(), self.executor, self.shares, lambda: alone),
            on_run=self.on_run,
        )

    def on_run(self, execution: Execution, rows: int) -> None:
        self.runs.append(rows)

    def ran(self, item: Item, outputs: list[Array] | None, error: Exception | None, timing: Timing) -> None:
        self.answers.append((outputs, error))
        self.timings.append(timing)

    def submit(self, rows: int = 1, width: int = 1, x: float = 1.0, **options: Any) -> Item:
        inputs = {"x": np.full((rows, width), x, np.float32)}
        outputs = options.pop("outputs", self.runner.output_names)
        rows = self.runner.rows_of(inputs)
        return self.runner.submit(
            inputs, outputs, options.pop("deadline", None), options.pop("ran", self.ran), rows=rows, **options
        )

    async def work(self) -> None:
        """Let a worker do what was handed to it first."""
        self.executor.release()
        await turns()

    async def all_done(self) -> None:
        await turns()
        while self.executor.jobs:
            await self.work()


# ---------------------------------------------------------------- where


async def test_a_short_run_of_a_lone_request_takes_place_at_once_on_the_event_loop() -> None:
    bench = Bench(alone=True)
    bench.submit()
    assert len(bench.answers) == 1
    assert bench.executor.jobs == []


async def test_a_long_run_takes_place_in_a_worker() -> None:
    bench = Bench(THREADED, alone=True)
    bench.submit()
    assert (bench.answers, len(bench.executor.jobs)) == ([], 1)
    await bench.work()
    assert len(bench.answers) == 1


async def test_many_rows_make_a_long_run_of_a_short_one() -> None:
    bench = Bench(Rules(inline_below_ns=10_000), alone=True)
    bench.submit(rows=1)
    bench.submit(rows=64)
    assert (len(bench.answers), len(bench.executor.jobs)) == (1, 1)


async def test_many_requests_make_a_long_run_of_short_ones() -> None:
    bench = Bench(Rules(inline_below_ns=10_000))
    for _ in range(64):
        bench.submit()
    await turns()
    assert (bench.answers, len(bench.executor.jobs)) == ([], 1)


async def test_a_wide_row_makes_a_long_run_too_where_the_width_is_the_callers() -> None:
    bench = Bench(Rules(inline_below_ns=10_000), WIDE, alone=True)
    bench.submit(rows=1, width=1)
    bench.submit(rows=1, width=100_000)
    assert (len(bench.answers), len(bench.executor.jobs)) == (1, 1)


async def test_a_copy_never_runs_on_the_event_loop() -> None:
    bench = Bench(alone=True)
    bench.submit(inline=False)
    assert (bench.answers, len(bench.executor.jobs)) == ([], 1)


async def test_as_many_run_at_once_as_there_are_cores() -> None:
    bench = Bench(Rules(max_rows=1, inline_below_ns=0.0), cores=3)
    for _ in range(5):
        bench.submit()
    await turns()
    assert len(bench.executor.jobs) == 3


async def test_of_many_versions_that_wait_for_one_worker_each_gets_it_in_turn() -> None:
    first = Bench(THREADED)
    benches = [first, *(Bench(THREADED, beside=first) for _ in range(3))]
    for bench in benches:
        bench.submit()
    await turns()
    for done in range(1, len(benches) + 1):
        assert len(first.executor.jobs) == 1
        await first.work()
        assert sum(len(bench.answers) for bench in benches) == done


async def test_the_load_is_what_waits_here_and_anywhere_and_the_cores_that_are_idle() -> None:
    bench = Bench(THREADED, cores=2)
    assert bench.runner.load == Load(here=0, everywhere=0, idle_cores=2)
    for _ in range(3):
        bench.submit()
        await turns()
    assert bench.runner.load == Load(here=1, everywhere=1, idle_cores=0)
    await bench.all_done()
    assert bench.runner.load == Load(here=0, everywhere=0, idle_cores=2)


# ---------------------------------------------------------------- natural batches


@pytest.mark.parametrize("rules", [INLINE, THREADED])
async def test_what_comes_in_one_turn_of_the_loop_runs_together(rules: Rules) -> None:
    bench = Bench(rules)
    for number in range(4):
        bench.submit(rows=number, x=number)
    await bench.all_done()
    assert bench.runs == [0, 6], "a request without rows runs alone"
    answers = [outputs[0].ravel().tolist() for outputs, _ in bench.answers if outputs is not None]
    assert sorted(answers) == [[], [10], [20, 20], [30, 30, 30]]


async def test_what_waits_while_a_batch_runs_is_the_next_one() -> None:
    bench = Bench(THREADED)
    bench.submit()
    await turns()
    for _ in range(5):
        bench.submit()
        await turns()
    assert len(bench.executor.jobs) == 1
    await bench.all_done()
    assert bench.runs == [1, 5]


async def test_where_there_is_no_batch_axis_each_runs_alone() -> None:
    bench = Bench(INLINE, ALONE)
    for _ in range(3):
        bench.submit()
    await bench.all_done()
    assert bench.runs == [1, 1, 1]


async def test_other_widths_and_other_outputs_do_not_run_together() -> None:
    bench = Bench(INLINE, WIDE)
    for width, outputs in itertools.product((1, 2), (("y",), ("version",))):
        for _ in range(2):
            bench.submit(width=width, outputs=outputs)
    await bench.all_done()
    assert bench.runs == [2, 2, 2, 2]


async def test_a_small_input_that_is_for_all_rows_decides_who_runs_together() -> None:
    """Two lists of ten run together, and a list of five does not go with them."""
    signature = Signature((*SIGNATURE.inputs, TensorSpec("k", DType.INT64, ())), SIGNATURE.outputs)
    bench = Bench(INLINE, signature)
    for k in (10, 5, 10):
        inputs = {"x": np.ones((1, 1), np.float32), "k": np.array(k)}
        bench.runner.submit(inputs, ("y",), None, bench.ran, rows=bench.runner.rows_of(inputs))
    await bench.all_done()
    assert bench.runs == [2, 1]


async def test_rows_are_those_of_the_batch_axis_wherever_the_input_that_has_it_stands() -> None:
    """An input for all rows comes first, as long as one might take a batch for: nobody gets another's rows for it."""
    weights = TensorSpec("weights", DType.FP32, (2,))
    bench = Bench(INLINE, Signature((weights, *SIGNATURE.inputs), SIGNATURE.outputs))
    for rows in (3, 1):
        inputs = {"weights": np.ones(2, np.float32), "x": np.full((rows, 1), rows, np.float32)}
        bench.runner.submit(inputs, ("y",), None, bench.ran, rows=bench.runner.rows_of(inputs))
    await bench.all_done()
    assert bench.runs == [4]
    answers = [outputs[0].ravel().tolist() for outputs, _ in bench.answers if outputs is not None]
    assert answers == [[30, 30, 30], [10]]


async def test_what_has_piled_up_does_not_hold_up_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other work gets its turn between the runs that fit into one turn of the event loop and the next."""
    monkeypatch.setattr(runner, "INLINE_TURN_NS", 0)
    bench = Bench(Rules(max_rows=1, inline_below_ns=1e12))
    for _ in range(3):
        bench.submit()
    seen = []
    for _ in range(12):
        await asyncio.sleep(0)
        seen.append(len(bench.answers))
    assert {1, 2, 3} <= set(seen)


async def test_what_one_turn_takes_in_it_runs_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else overload would pile up what then has to be refused, though the event loop had time to run it."""
    monkeypatch.setattr(runner, "INLINE_TURN_NS", 10**18)
    bench = Bench(Rules(max_rows=1, inline_below_ns=1e12))
    for _ in range(50):
        bench.submit()
    await asyncio.sleep(0)
    assert len(bench.answers) == 50


async def test_with_a_delay_a_request_waits_for_company_and_then_runs() -> None:
    bench = Bench(Rules(max_rows=2, max_delay_s=0.05, inline_below_ns=1e12), alone=True)
    bench.submit()
    assert bench.answers == []
    while not bench.answers:
        await asyncio.sleep(0)
    bench.submit()
    bench.submit()
    assert bench.runs == [1, 2]


# ---------------------------------------------------------------- refused, dropped, failed


async def test_a_deadline_that_has_passed_is_refused_and_one_that_passes_while_waiting_is_told() -> None:
    bench = Bench(THREADED)
    with pytest.raises(DeadlineExpiredError):
        bench.submit(deadline=0.0)
    bench.submit()
    await turns()
    waiting = bench.submit(deadline=1e18)
    waiting.deadline = 0.0
    await bench.work()
    assert [type(error) for _, error in bench.answers] == [DeadlineExpiredError, type(None)]
    assert bench.predictor.runs == 1


async def test_what_cannot_be_ready_in_time_is_refused_at_once() -> None:
    bench = Bench(THREADED, row_ns=10**9)
    bench.submit()
    await turns()
    bench.submit(rows=999)
    with pytest.raises(DeadlineUnreachableError):
        bench.submit(deadline=time.monotonic() + 60.0)


async def test_a_full_queue_refuses_and_nothing_is_forgotten() -> None:
    bench = Bench(THREADED, room=4)
    bench.submit()
    await turns()
    for _ in range(4):
        bench.submit()
    with pytest.raises(QueueFullError):
        bench.runner.check_wait(2)
    with pytest.raises(QueueFullError):
        bench.submit()
    await bench.all_done()
    assert len(bench.answers) == 5


async def test_texts_that_wait_count_with_all_their_length() -> None:
    signature = Signature((*SIGNATURE.inputs, TensorSpec("text", DType.BYTES, (-1,))), SIGNATURE.outputs)
    bench = Bench(THREADED, signature)
    inputs = {"x": np.ones((1, 1), np.float32), "text": np.array(["t" * 1000], object)}
    item = bench.runner.submit(inputs, ("y",), None, bench.ran, rows=bench.runner.rows_of(inputs))
    assert item.nbytes >= 1000
    await bench.all_done()


async def test_what_runs_in_a_worker_is_ended_when_nobody_waits_for_it_any_more() -> None:
    bench = Bench(THREADED, predictor=Endable)
    together = [bench.submit() for _ in range(2)]
    await turns()
    (ending,) = cast(Endable, bench.predictor).endings
    assert not bench.runner.cancel(together[0])
    assert not ending.has_ended, "somebody waits for it"
    assert not bench.runner.cancel(together[1])
    assert ending.has_ended
    await bench.all_done()
    assert [type(error) for _, error in bench.answers] == [RuntimeError] * 2


async def test_a_request_that_was_answered_is_no_audience_of_the_next_run() -> None:
    bench = Bench(THREADED, predictor=Endable)
    over = bench.submit()
    await bench.all_done()
    bench.submit()
    await turns()
    assert not bench.runner.cancel(over)
    assert [ending.has_ended for ending in cast(Endable, bench.predictor).endings] == [False, False]
    await bench.all_done()


async def test_a_cancelled_request_is_not_run() -> None:
    bench = Bench(THREADED)
    first = bench.submit()
    await turns()
    second = bench.submit()
    assert not bench.runner.cancel(first)
    assert bench.runner.cancel(second)
    await bench.all_done()
    assert (bench.predictor.runs, len(bench.answers)) == (1, 1)


@pytest.mark.parametrize("rules", [INLINE, THREADED])
async def test_only_the_guilty_of_a_batch_get_the_error(rules: Rules) -> None:
    bench = Bench(rules, predictor=Fussy)
    for x in (1, -1, 2):
        bench.submit(x=x)
    await bench.all_done()
    assert [type(error) for _, error in bench.answers] == [type(None), ValueError, type(None)]


@pytest.mark.parametrize("rules", [INLINE, THREADED])
async def test_a_callback_that_fails_does_no_harm_to_other_requests(rules: Rules) -> None:
    bench = Bench(rules)
    problems: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context["exception"]))

    def broken(*answer: object) -> None:
        raise ZeroDivisionError

    bench.submit(ran=broken)
    bench.submit()
    await bench.all_done()
    assert len(bench.answers) == 1
    assert [type(problem) for problem in problems] == [ZeroDivisionError]


async def test_where_no_worker_takes_it_any_more_a_request_fails() -> None:
    bench = Bench(THREADED)
    bench.executor.shutdown()
    bench.submit()
    await turns()
    ((_, error),) = bench.answers
    assert isinstance(error, RuntimeError)
    assert bench.shares.idle == 1


async def test_who_has_nothing_to_run_when_its_turn_comes_leaves_the_worker_to_the_next() -> None:
    """In another data plane's threads it can be chosen in the moment in which its last caller goes."""
    gone = Bench(THREADED)
    other = Bench(THREADED, beside=gone)
    assert gone.shares.start_or_want(gone.runner, 1.0)
    other.submit()
    await turns()
    assert other.executor.jobs == []
    gone.runner.pump(chosen=True)
    await other.all_done()
    assert (len(other.answers), other.shares.idle) == (1, 1)


# ---------------------------------------------------------------- counted


async def test_runs_are_counted_by_their_rows() -> None:
    bench = Bench(alone=True)
    for rows in (1, 3, 3, 0):
        bench.submit(rows=rows)
    statistics = bench.runner.statistics
    assert statistics.execution_count == 4
    assert {rows: counts.compute_infer.count for rows, counts in statistics.batches.items()} == {1: 1, 3: 2, 0: 1}
    assert bench.runs == [1, 3, 3, 0]


async def test_rows_that_callers_choose_do_not_fill_the_memory() -> None:
    bench = Bench(alone=True)
    for rows in range(2000):
        bench.submit(rows=rows)
    sizes = bench.runner.statistics.batches
    assert set(sizes) == {*range(EXACT_ROWS + 1), 256, 512, 1024}
    assert sum(counts.compute_infer.count for counts in sizes.values()) == 2000


@pytest.mark.parametrize("rules", [INLINE, THREADED])
async def test_every_request_of_a_batch_waited_until_it_ran_and_ran_as_long_as_it(rules: Rules) -> None:
    bench = Bench(rules)
    for rows in (1, 2):
        bench.submit(rows=rows, input_ns=7)
    await bench.all_done()
    counted = bench.runner.statistics.batches[3]
    first, second = bench.timings
    assert (first.started_ns, first.rows) == (second.started_ns, second.rows)
    assert {first.compute_infer_ns, second.compute_infer_ns} == {counted.compute_infer.ns}
    assert {first.compute_output_ns, second.compute_output_ns} == {counted.compute_output.ns}
    assert {first.compute_input_ns, second.compute_input_ns} == {counted.compute_input.ns + 7}
    assert first.queue_ns >= second.queue_ns > 0


# ---------------------------------------------------------------- whatever else is in flight


class Fussy(Predictor):
    """Refuses whole batches in which a row is negative."""

    def run(self, inputs: Arrays, outputs: tuple[str, ...] = (), ending: Any = None) -> list[Array]:
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return super().run(inputs, outputs)


steps = st.one_of(
    st.tuples(st.just("submit"), st.integers(0, 5), st.sampled_from([1, 1, 2]), st.booleans()),
    st.tuples(st.sampled_from(["work", "turn", "cancel"]), st.integers(0, 9), st.just(0), st.just(False)),
)


@settings(max_examples=200)
@given(
    st.lists(steps, max_size=60),
    st.integers(1, 8),
    st.sampled_from([0.0, 3_000.0, 1e12]),
)
def test_everybody_gets_exactly_what_it_asked_for_and_only_the_guilty_an_error(
    script: list[tuple[str, int, int, bool]], max_rows: int, inline_below_ns: float
) -> None:
    """Rows of any number and width, some of which fail, in workers that end in any order."""

    async def play() -> None:
        bench = Bench(Rules(max_rows, 0.0, inline_below_ns), WIDE, cores=2, predictor=Fussy)
        numbers = itertools.count()
        told: Counter[int] = Counter()
        cancelled: set[int] = set()
        items: list[Item] = []

        def submit(rows: int, width: int, good: bool) -> None:
            number = next(numbers)
            x = np.arange(rows * width, dtype=np.float32).reshape(rows, width) + number * 1000
            x = x if good or not rows else -1 - x

            def ran(item: Item, outputs: list[Array] | None, error: Exception | None, timing: Timing) -> None:
                told[number] += 1
                if good or not rows:
                    assert outputs is not None
                    assert np.array_equal(outputs[0], x * 10)
                else:
                    assert isinstance(error, ValueError)

            items.append(bench.runner.submit({"x": x}, ("y",), None, ran, rows=len(x)))

        for action, number, width, good in script:
            if action == "submit":
                submit(number, width, good)
            elif action == "work" and bench.executor.jobs:
                bench.executor.release(number % len(bench.executor.jobs))
            elif action == "cancel" and items and bench.runner.cancel(items[number % len(items)]):
                cancelled.add(number % len(items))
            else:
                await asyncio.sleep(0)
        await bench.all_done()
        assert told == Counter(set(range(len(items))) - cancelled)
        assert bench.shares.idle == 2

    problems: list[dict[str, Any]] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: problems.append(context))
        runner.run(play())
    assert problems == []


def scaled() -> ModelProto:
    """Return a graph: `y` is `x` times the row's `scale`, `total` the sum of that, `twice` the double of `id`."""
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["y"]),
        helper.make_node("ReduceSum", ["y", "last"], ["total"], keepdims=1),
        helper.make_node("Add", ["id", "id"], ["twice"]),
    ]
    inputs = [value("x", FLOAT, ["n", "m"]), value("scale", FLOAT, ["n", 1]), value("id", INT64, ["n"])]
    outputs = [value("y", FLOAT, ["n", "m"]), value("total", FLOAT, ["n", 1]), value("twice", INT64, ["n"])]
    return graph(nodes, inputs, outputs, [numpy_helper.from_array(np.array([1]), "last")])


SCALED = Signature(
    (
        TensorSpec("x", DType.FP32, (-1, -1)),
        TensorSpec("scale", DType.FP32, (-1, 1)),
        TensorSpec("id", DType.INT64, (-1,)),
    ),
    (
        TensorSpec("y", DType.FP32, (-1, -1)),
        TensorSpec("total", DType.FP32, (-1, 1)),
        TensorSpec("twice", DType.INT64, (-1,)),
    ),
)


@pytest.mark.parametrize("inline_below_ns", [0.0, 30_000.0, 1e12], ids=["threaded", "either", "inline"])
async def test_thousands_of_interleaved_requests_get_what_a_direct_run_gives(
    tmp_path: Path, inline_below_ns: float
) -> None:
    """ONNX Runtime itself, real threads, random rows, widths, outputs and priorities: each answer is bit for bit
    that of the session on its own.
    """
    loaded = load(saved(tmp_path, scaled()), manifest(signature=SCALED))
    assert loaded.independent
    random = np.random.default_rng(7)
    bounds = Bounds(1 << 30, 1 << 40)
    costs = CostModel(loaded.measured)
    wrong: list[str] = []
    waiting = asyncio.Semaphore(256)
    finished = 0
    runs: list[int] = []
    executor: Executor
    with ThreadPoolExecutor(4) as executor:
        runner = Runner(
            loaded.servable,
            Batcher(Admission("price", 1, Room(bounds), Room(bounds)), costs, Rules(64, 0.0, inline_below_ns)),
            costs,
            Workers(asyncio.get_running_loop(), executor, Shares(2, 2, 4), lambda: False),
            on_run=lambda execution, rows: runs.append(len(execution.items)),
        )
        subsets = [names for size in (1, 2, 3) for names in itertools.combinations(runner.output_names, size)]

        def submit(number: int) -> None:
            rows, width = int(random.integers(0, 12)), int(random.choice([1, 3, 8]))
            inputs: Arrays = {
                "x": random.standard_normal((rows, width), np.float32),
                "scale": random.standard_normal((rows, 1), np.float32),
                "id": np.full(rows, number),
            }
            outputs = subsets[int(random.integers(len(subsets)))]

            def ran(item: Item, answer: list[Array] | None, error: Exception | None, timing: Timing) -> None:
                nonlocal finished
                finished += 1
                waiting.release()
                expected = loaded.servable.run(inputs, outputs)
                if answer is None or not all(map(np.array_equal, answer, expected)):
                    wrong.append(f"request {number}: {error or answer} is not {expected}")

            runner.submit(inputs, outputs, None, ran, rows=runner.rows_of(inputs), priority=int(random.integers(1, 11)))

        for number in range(3000):
            await waiting.acquire()
            submit(number)
        while finished < 3000:
            await asyncio.sleep(0)
    assert wrong == []
    assert sum(runs) == 3000
    assert max(runs) > 1, "nothing was batched"


def test_of_runs_one_after_the_other_each_has_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = 1_000_000_000
    monkeypatch.setattr(runner.time, "monotonic_ns", lambda: now_ns)
    due = runner._Due(cast("Any", None), None)
    now_ns += 40_000_000_000
    assert due.left_s(30.0) == 30.0, "no worker has got to it"
    due.clock()
    now_ns += 20_000_000_000
    assert due.left_s(30.0) == 10.0
    due.clock()
    assert due.left_s(30.0) == 30.0
    now_ns += 31_000_000_000
    assert due.left_s(30.0) == -1.0
