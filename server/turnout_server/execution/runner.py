"""Runs one version's requests: on the event loop when a run is shorter than a thread hop is worth, else in a worker.

What runs next is the batcher's decision, and which version gets a worker that of the shares; this module performs both,
measures and counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from turnout_server.execution.audience import Audiences
from turnout_server.execution.batch_run import Ending, Execution, Predictor, execute
from turnout_server.execution.measures import Measures
from turnout_server.execution.workers import Workers
from turnout_server.instruments.instruments import Runs
from turnout_server.instruments.statistics import RunsAlike, VersionStatistics
from turnout_server.scheduling.batcher import Batcher
from turnout_server.scheduling.copies import Load
from turnout_server.scheduling.cost import CostModel
from turnout_server.scheduling.item import DEFAULT_PRIORITY, Batch, Item
from turnout_server.scheduling.shares import Divides
from turnout_server.tasks.features import Note, Odd
from turnout_server.vocabulary.record import Timing
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.tensors import Array, Arrays

Ran = Callable[[Item, list[Array] | None, Exception | None, Timing], None]
"""Called on the event loop's thread with the outputs or with what went wrong, and with where the time went."""
OnRun = Callable[[Execution, int], None]
"""Told of every run of the graph, and of how many rows it had."""
INLINE_TURN_NS = 5_000_000
"""How long one version's runs may keep the event loop from all else in one turn. Several connections take in as much
as that in a turn: what is run must keep up, or under overload most of the work would go into calls that are refused."""
_NS = 1e9
RUN_TIMEOUT_S = 30.0
_ODD = tuple(kind.name.lower() for kind in Odd)
"""What metrics call the kinds, by number."""


class _Due:
    """A batch that is to run in a worker, and what becomes of it there."""

    def __init__(self, batch: Batch, ending: Ending | None) -> None:
        self.batch = batch
        self.ending = ending
        self.timer: asyncio.TimerHandle | None = None
        """Looks whether a run's time is over."""
        self._stepped_ns = 0
        """When a run last began or ended; 0 while no worker has got to it."""

    def clock(self) -> int:
        """Return what time it is for the runs, which ask whenever one begins or ends."""
        self._stepped_ns = now = time.monotonic_ns()
        return now

    def left_s(self, timeout_s: float) -> float:
        """Return how long the run that is under way may still take; each of several has as long."""
        return timeout_s - (time.monotonic_ns() - self._stepped_ns) / _NS if self._stepped_ns else timeout_s


class Runner:
    """One loaded version with its queue. The event loop's thread only, apart from the constructor and `close`."""

    def __init__(
        self,
        predictor: Predictor,
        batcher: Batcher,
        costs: CostModel,
        workers: Workers,
        runs: Runs | None = None,
        on_run: OnRun | None = None,
        *,
        batched: bool = True,
        signature: Signature | None = None,
        run_timeout_s: float = RUN_TIMEOUT_S,
        on_timed_out: Callable[[int], None] | None = None,
        needs: Mapping[int, int] | None = None,
    ) -> None:
        """Make a runner with an empty queue.

        Args:
            predictor: the loaded version.
            batcher: decides what runs next.
            costs: says how long a run will take, and learns from each.
            workers: the process's threads.
            runs: the version's histograms.
            on_run: told of runs; None for nobody.
            batched: whether requests may run together, if the signature allows it.
            signature: the manifest's, with bounds on what requests bring; None for the manifest's as it is.
            run_timeout_s: how long a run in a worker may take, in seconds.
            on_timed_out: told of each run that took longer, and was ended, and how many had gone well until then;
                None for nobody.
            needs: what its trial's runs took of memory in bytes, by number of rows; None where nobody counted.
        """
        self.manifest = predictor.manifest
        self.signature: Signature = predictor.manifest.signature if signature is None else signature
        self.output_names = tuple(spec.name for spec in self.signature.outputs)
        self._measures = measures = Measures(self.signature)
        self.rows_of = measures.rows
        """Says how many rows there are in a request's inputs."""
        self.batched = batched and self.signature.has_batch_axis
        """Whether requests may run together."""
        self.predictor = predictor
        """The loaded version."""
        self._batcher = batcher
        self.costs = costs
        """Says how long runs take."""
        self._workers = workers
        self.number = next(workers.numbers)
        """What it is called in this process."""
        self.rules = batcher.rules
        """How requests are put together."""
        self._runs = runs if runs is not None else Runs()
        self.statistics: VersionStatistics = self._runs.statistics
        self.room = room = batcher.room
        """What waits for the version, in whichever data plane."""
        self.queue_wait_s, self.queue_requests = batcher.admission.wait_s, batcher.admission.patient
        """How long a request may have to wait, in seconds, and how many may wait however long that takes."""
        # What is counted of a version outlives it, and must not keep it in memory: hence the room, and not the runner.
        self._runs.waiting_rows = lambda: room.rows
        self._on_run = on_run
        self.run_timeout_s = run_timeout_s
        """How long a run may take, in seconds."""
        self.needs: Mapping[int, int] = {} if needs is None else needs
        """What runs of its trial took of memory: nothing of it is counted here, but in the engine."""
        self._on_timed_out = on_timed_out
        self._audiences = Audiences()
        self._pump_due = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def load(self) -> Load:
        """How busy the process is, seen from here."""
        return Load(self.room.count, self._batcher.waiting_everywhere, self._workers.shares.idle)

    def is_cheap(self, rows: int) -> bool:
        """Say whether a run of *rows* rows should be short enough for the event loop."""
        return self._batcher.is_cheap(rows or 1)

    def check_wait(self, priority: int) -> None:
        """Refuse a request of which nothing but the priority is known yet, if there is certainly no room for it.

        Raises:
            QueueFullError: as `submit`, but before anything was spent on the request's tensors.
        """
        self._batcher.check_wait(priority, time.monotonic())

    def submit(
        self,
        inputs: Arrays,
        outputs: tuple[str, ...],
        deadline: float | None,
        ran: Ran,
        *,
        rows: int,
        inline: bool = True,
        together: bool = True,
        priority: int = DEFAULT_PRIORITY,
        input_ns: int = 0,
        span: object = None,
    ) -> Item:
        """Run *inputs* now or when it is their turn; *ran* is called exactly once unless the item is cancelled.

        *ran* may be called before this returns.

        Args:
            inputs: every input of the signature, with its dtype and shape.
            outputs: the outputs wanted, all of them outputs of the signature.
            deadline: in seconds on the clock of `time.monotonic`; None for none.
            ran: told what came of it.
            rows: what `rows_of` says of *inputs*.
            inline: whether it may run on the event loop.
            together: whether it may run together with others.
            priority: from 1, the highest, to 10.
            input_ns: what it took to make *inputs*, which counts as the request's input time.
            span: the request's, for whoever is told of runs.

        Raises:
            DeadlineExpiredError, DeadlineUnreachableError, QueueFullError: it was not taken in, and *ran* will not be
                called.
        """
        now_ns = time.monotonic_ns()
        item = Item(
            inputs,
            outputs,
            rows,
            0,
            deadline,
            ran,
            self._measures.size(inputs, rows),
            inline,
            None,
            priority,
            now_ns,
            input_ns,
            span,
        )
        alone = self._workers.alone()
        if alone:
            batch = self._batcher.at_once(item, now_ns / _NS)
            if batch is not None:
                self._run_here(batch)
                return item
        item.nbytes = self._measures.nbytes(inputs)
        if together and self.batched and rows:
            item.key = self._measures.key(inputs, outputs)
        self._batcher.offer(item, now_ns / _NS)
        if alone:
            self.pump()
        elif not self._pump_due:
            # At the end of this turn of the loop: what else the turn brings is company.
            self._pump_due = True
            self._workers.loop.call_soon(self._pump_later)
        return item

    def cancel(self, item: Item) -> bool:
        """Take *item* out of the queue; return False if it runs already, in which case its `ran` is still called.

        A run in a worker that nobody else waits for is ended.
        """
        if not self._batcher.cancel(item):
            self._audiences.leave(item)
            return False
        if not len(self._batcher):
            self._workers.shares.forgo(self)
        return True

    def close(self) -> None:
        """Give the version's memory back. Nothing may wait or run."""
        self.predictor.close()

    # ------------------------------------------------------------ driving

    def pump(self, *, chosen: bool = False) -> None:
        """Run what can run now; of who was *chosen* by the shares a run counts as started already."""
        shares = self._workers.shares
        turn_ends = time.monotonic_ns() + INLINE_TURN_NS
        started = chosen
        while True:
            decision = self._batcher.next_batch(time.monotonic_ns() / _NS, started)
            for item, error in decision.dropped:
                self._tell(item, None, error, Timing(time.monotonic_ns() - item.offered_ns, 0, 0, 0, 0, 0))
            batch = decision.batch
            if batch is None:
                if not decision.blocked:
                    shares.forgo(self)
                elif shares.start_or_want(self, decision.cost_ns):
                    started = True
                    continue
                if decision.wake_at is not None:
                    self._wake_at(decision.wake_at)
                break
            if batch.inline:
                self._run_here(batch)
                if time.monotonic_ns() < turn_ends:
                    continue
                if len(self._batcher) and not self._pump_due:
                    # What has piled up must not hold up the loop: the other calls get their turn in between.
                    self._pump_due = True
                    self._workers.loop.call_soon(self._pump_later)
                break
            started = False
            self._submit(batch)
        if started:  # there was nothing any more to run there
            shares.finish(self)
            start_chosen(shares)

    def _pump_later(self) -> None:
        self._pump_due = False
        self.pump()

    def _wake_at(self, when: float) -> None:
        if self._timer is None:
            self._timer = self._workers.loop.call_later(max(when - time.monotonic(), 0.0), self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.pump()

    def _submit(self, batch: Batch) -> None:
        due = _Due(batch, self.predictor.ending())
        if due.ending is not None:
            self._workers.endings.add(due.ending)
            self._audiences.gather(due.ending, batch.items)
            due.timer = self._workers.loop.call_later(self.run_timeout_s, self._end_in_time, due)
        try:
            self._workers.executor.submit(self._run_in_worker, due)
        except RuntimeError as error:  # it is being shut down, or no thread can be started
            self._forget(due)
            self._workers.shares.finish(self)
            self._batcher.finish(batch, time.monotonic_ns() / _NS)
            self._answer([Execution(batch.items, time.monotonic_ns(), 0, 0, 0, (), error)])

    def _forget(self, due: _Due) -> None:
        """Its runs are over."""
        self._audiences.disperse(due.batch.items)
        if due.ending is not None:
            self._workers.endings.discard(due.ending)
        if due.timer is not None:
            due.timer.cancel()

    def _end_in_time(self, due: _Due) -> None:
        left_s = due.left_s(self.run_timeout_s)
        if left_s > 0:
            due.timer = self._workers.loop.call_later(left_s, self._end_in_time, due)
        elif due.ending is not None and not due.ending.has_ended:  # one that nobody waits for was ended before
            due.ending.end()
            self.note_timed_out()

    def note_features(self, rows: int, notes: Iterable[Note]) -> None:
        """Count *rows* that were made of features, and what is odd about them, here or in another data plane."""
        runs = self._runs
        runs.feature_rows += rows
        for name, kind, count in notes:
            what = name, _ODD[kind]
            runs.odd[what] = runs.odd.get(what, 0) + count

    def note_timed_out(self, count: int = 1) -> None:
        """Note that runs took longer than they may, and were ended, here or in another data plane."""
        self._runs.timed_out += count
        if self._on_timed_out is not None:
            for _ in range(count):
                self._on_timed_out(self.statistics.execution_count)

    def _run_in_worker(self, due: _Due) -> None:
        executions = execute(self.predictor, due.batch.items, due.clock, due.ending)
        self._workers.loop.call_soon_threadsafe(self._worker_finished, due, executions)

    def _worker_finished(self, due: _Due, executions: list[Execution]) -> None:
        self._forget(due)
        shares = self._workers.shares
        shares.finish(self)
        self._batcher.finish(due.batch, time.monotonic_ns() / _NS)
        # The worker first, the answers then: it need not be idle while they are written.
        self.pump()
        start_chosen(shares)
        self._answer(executions)

    def _run_here(self, batch: Batch) -> None:
        executions = execute(self.predictor, batch.items)
        self._batcher.finish(batch, time.monotonic_ns() / _NS)
        self._answer(executions)

    # ------------------------------------------------------------ counting and telling

    def _answer(self, executions: Sequence[Execution]) -> None:
        for execution in executions:
            items, started, input_ns, infer_ns, output_ns, answers, error = execution
            if len(items) == 1:
                rows, size = items[0].rows, items[0].size
            else:
                rows, size = sum([item.rows for item in items]), sum([item.size for item in items])
            self._ran(rows, size, input_ns, infer_ns, output_ns, failed=error is not None)
            if self._on_run is not None:
                self._on_run(execution, rows)
            for index, item in enumerate(items):
                timing = Timing(started - item.offered_ns, item.input_ns + input_ns, infer_ns, output_ns, rows, started)
                self._tell(item, answers[index] if error is None else None, error, timing)

    def _tell(self, item: Item, outputs: list[Array] | None, error: Exception | None, timing: Timing) -> None:
        try:
            item.done(item, outputs, error, timing)
        except Exception as failure:
            # One caller's callback must not take down another's request, in whose turn it may be called.
            context = {"message": "what waited for an answer failed on it", "exception": failure}
            self._workers.loop.call_exception_handler(context)

    def _ran(self, rows: int, size: int, input_ns: int, infer_ns: int, output_ns: int, *, failed: bool) -> None:
        self._runs.run.add(infer_ns)
        self._runs.rows.add(rows)
        if failed:
            return
        self.costs.observe(size, infer_ns)
        statistics = self.statistics
        statistics.execution_count += 1
        of_size = statistics.of_batches(rows)
        of_size.compute_input.add(input_ns)
        of_size.compute_infer.add(infer_ns)
        of_size.compute_output.add(output_ns)

    def include(self, runs: RunsAlike) -> None:
        """Count runs that another data plane performed, and learn from them how long runs take."""
        count = runs.infer.observations
        self._runs.run.include(runs.infer)
        self._runs.rows.add(runs.rows, count)
        if not runs.failed:
            self.costs.observe_all(runs.size, count, runs.infer.total, runs.best_ns)
            self.statistics.include_runs(runs)


def start_chosen(shares: Divides) -> None:
    """Have those run something who have waited for a worker, and may now."""
    while (runner := shares.start_next()) is not None:
        assert isinstance(runner, Runner)
        runner.pump(chosen=True)
