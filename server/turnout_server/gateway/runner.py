"""Runs one version's requests: on the event loop when a run is shorter than a thread hop is worth, else in a worker.

What runs next is the batcher's decision; this module performs it, measures it and counts it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from math import prod
from typing import NamedTuple, Protocol

from turnout_server.errors import UnknownOutputError
from turnout_server.gateway.query import Timing
from turnout_server.gateway.statistics import VersionStatistics
from turnout_server.scheduling.batcher import Batch, Batcher, Item
from turnout_server.scheduling.cost import CostModel
from turnout_server.store.manifest import Manifest, Signature
from turnout_server.tensors import Array, Arrays, rows_of

Ran = Callable[[Item, list[Array] | None, Exception | None, Timing], None]
"""Called on the event loop's thread with the outputs or with what went wrong, and with where the time went."""


class Predictor(Protocol):
    """What a runner needs of a loaded version."""

    @property
    def manifest(self) -> Manifest:
        """The version's manifest."""

    def run(self, inputs: Arrays, outputs: tuple[str, ...] = ()) -> list[Array]:
        """Run the graph once; may be called from several threads."""

    def close(self) -> None:
        """Give its memory back."""


class Workers(NamedTuple):
    """Where runners of one process run things."""

    loop: asyncio.AbstractEventLoop
    executor: Executor
    threads: int
    """Threads in the executor."""
    inline_below_ns: float


class Runner:
    """One loaded version with its queue. The event loop's thread only, apart from the constructor and `close`."""

    def __init__(
        self,
        predictor: Predictor,
        batcher: Batcher,
        costs: CostModel,
        workers: Workers,
        recorded: Callable[[int, int, int], None] = lambda queue_ns, run_ns, rows: None,
    ) -> None:
        """Make a runner with an empty queue.

        Args:
            predictor: the loaded version.
            batcher: decides what runs next.
            costs: says how long a run will take, and learns from each.
            workers: the process's threads.
            recorded: told of every run: nanoseconds waited, nanoseconds run, rows.
        """
        self.manifest = predictor.manifest
        self.signature: Signature = predictor.manifest.signature
        self.output_names = tuple(spec.name for spec in self.signature.outputs)
        self._free_axes = tuple(
            (spec.name, axes)
            for spec in self.signature.inputs
            if (axes := tuple(axis for axis, size in enumerate(spec.shape) if size < 0))
        )
        self.statistics = VersionStatistics()
        self._predictor = predictor
        self._batcher = batcher
        self._costs = costs
        self._workers = workers
        self._recorded = recorded

    @property
    def busy(self) -> bool:
        """Whether one more request would have to wait."""
        return self._batcher.busy

    def submit(
        self, inputs: Arrays, outputs: tuple[str, ...], deadline: float | None, ran: Ran, *, inline: bool = True
    ) -> Item:
        """Run *inputs* now or when it is their turn; *ran* is called exactly once unless the item is cancelled.

        *ran* may be called before this returns. With *inline* false the event loop never runs it.

        Raises:
            DeadlineExpiredError, QueueFullError: it was not taken in, and *ran* will not be called.
        """
        item = Item(
            inputs=inputs,
            outputs=outputs,
            rows=rows_of(inputs),
            size=self._size_of(inputs),
            nbytes=sum(array.nbytes for array in inputs.values()),
            deadline=deadline,
            done=ran,
            inline=inline,
            offered_ns=time.perf_counter_ns(),
        )
        self._batcher.offer(item, time.monotonic())
        self._pump()
        return item

    def cancel(self, item: Item) -> bool:
        """Take *item* out of the queue; return False if it runs already, in which case its `ran` is still called."""
        return self._batcher.cancel(item)

    def close(self) -> None:
        """Give the version's memory back. Nothing may wait or run."""
        self._predictor.close()

    def _pump(self) -> None:
        while True:
            batch, expired = self._batcher.next_batch(time.monotonic())
            for item, error in expired:
                self._tell(item, None, error, Timing(time.perf_counter_ns() - item.offered_ns, 0, 0, 0, 0, 0))
            if batch is None:
                return
            if batch.inline and self._costs.estimate(batch.size) < self._workers.inline_below_ns:
                self._finish(batch, *self._run(batch))
                if len(self._batcher):
                    # What has piled up must not hold up the loop: the other calls get their turn in between.
                    self._workers.loop.call_soon(self._pump)
                return
            self._submit(batch)

    def _submit(self, batch: Batch) -> None:
        try:
            self._workers.executor.submit(self._run_in_worker, batch)
        except RuntimeError as error:  # it is being shut down
            self._finish(batch, time.perf_counter_ns(), 0, None, error)

    def _run(self, batch: Batch) -> tuple[int, int, list[Array] | None, Exception | None]:
        (item,) = batch.items
        started = time.perf_counter_ns()
        try:
            outputs = self._predictor.run(item.inputs, item.outputs)
        except Exception as error:
            return started, time.perf_counter_ns() - started, None, error
        return started, time.perf_counter_ns() - started, outputs, None

    def _run_in_worker(self, batch: Batch) -> None:
        result = self._run(batch)
        self._workers.loop.call_soon_threadsafe(self._finish_and_go_on, batch, *result)

    def _finish_and_go_on(
        self, batch: Batch, started: int, ran_ns: int, outputs: list[Array] | None, error: Exception | None
    ) -> None:
        self._finish(batch, started, ran_ns, outputs, error)
        self._pump()

    def _finish(
        self, batch: Batch, started: int, ran_ns: int, outputs: list[Array] | None, error: Exception | None
    ) -> None:
        self._batcher.finish(batch)
        (item,) = batch.items
        timing = Timing(started - item.offered_ns, 0, ran_ns, 0, batch.rows, started)
        if error is None:
            self._costs.observe(batch.size, ran_ns)
            self._count(timing)
        self._recorded(timing.queue_ns, ran_ns, batch.rows)
        self._tell(item, outputs, error, timing)

    def _tell(self, item: Item, outputs: list[Array] | None, error: Exception | None, timing: Timing) -> None:
        try:
            item.done(item, outputs, error, timing)
        except Exception as failure:
            # One caller's callback must not take down another's request, in whose turn it may be called.
            context = {"message": "what waited for an answer failed on it", "exception": failure}
            self._workers.loop.call_exception_handler(context)

    def _size_of(self, inputs: Arrays) -> int:
        """Return what the run time grows with: the free axes of the largest input, multiplied."""
        return max((prod(inputs[name].shape[axis] for axis in axes) for name, axes in self._free_axes), default=1)

    def _count(self, timing: Timing) -> None:
        statistics = self.statistics
        statistics.execution_count += 1
        of_size = statistics.of_batches(timing.rows)
        of_size.compute_input.add(timing.compute_input_ns)
        of_size.compute_infer.add(timing.compute_infer_ns)
        of_size.compute_output.add(timing.compute_output_ns)


def outputs_wanted(runner: Runner, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return *wanted*, or all outputs when nothing was wanted in particular.

    Raises:
        UnknownOutputError: the version has no such output.
    """
    if not wanted:
        return runner.output_names
    for name in wanted:
        if name not in runner.output_names:
            raise UnknownOutputError(name, runner.output_names)
    return wanted
