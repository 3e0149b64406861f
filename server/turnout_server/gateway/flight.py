"""One query under way: from the lease on a version to the answer, with everything that is counted on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from turnout_server.execution.runner import Runner, outputs_wanted
from turnout_server.instruments.instruments import Instruments
from turnout_server.scheduling.item import Item, level_of
from turnout_server.serving.harness import Lease
from turnout_server.vocabulary.decision import Served
from turnout_server.vocabulary.errors import TurnoutError
from turnout_server.vocabulary.query import Prediction, Query
from turnout_server.vocabulary.record import Timing
from turnout_server.vocabulary.tensors import Array

Done = Callable[[Prediction | None, Exception | None], None]
"""Told what became of a query: the answer, or what went wrong."""


class Flight:
    """One query under way."""

    __slots__ = (
        "_done",
        "_instruments",
        "_item",
        "_lease",
        "_query",
        "_started_ns",
        "on_answered",
        "served",
        "timing",
    )

    def __init__(self, instruments: Instruments, query: Query, done: Done, started_ns: int) -> None:
        self._instruments = instruments
        self._query = query
        self._done = done
        self._started_ns = started_ns
        self._lease: Lease[Runner] | None = None
        self._item: Item | None = None
        self.served: Served | None = None
        """Known once a target was found."""
        self.timing: Timing | None = None
        """Known once the query has run or expired."""
        self.on_answered: Callable[[], None] | None = None

    def refused(self, route: str, error: TurnoutError) -> None:
        """End before a target was found."""
        self._instruments.record_refused(route, error.reason)
        self._done(None, error)

    def depart(self, lease: Lease[Runner], served: Served, span: object = None) -> None:
        """Prepare the inputs and hand them to the version's runner."""
        self._lease, self.served = lease, served
        runner = lease.servable
        started = time.monotonic_ns()
        try:
            query = self._query
            priority = level_of(query.priority)
            # Before anything is spent on the tensors of a request for which there is no room.
            runner.check_wait(priority)
            outputs = outputs_wanted(runner, query.outputs) if query.outputs else runner.output_names
            inputs = query.prepare(runner.signature)
            input_ns = time.monotonic_ns() - started
            item = runner.submit(
                inputs, outputs, query.deadline, self._ran, priority=priority, input_ns=input_ns, span=span
            )
        except Exception as error:
            self._end(None, error)
        else:
            if self._lease is not None:
                self._item = item

    def cancel(self) -> None:
        """Give up. A request that already runs ends as usual, but nobody is told."""
        self._done = _nobody
        self.on_answered = None
        lease = self._lease
        if lease is not None and self._item is not None and lease.servable.cancel(self._item):
            self._end(None, asyncio.CancelledError())

    def _ran(self, item: Item, outputs: list[Array] | None, error: Exception | None, timing: Timing) -> None:
        self.timing = timing
        if outputs is None:
            self._end(None, error)
            return
        lease, served = self._lease, self.served
        assert lease is not None
        assert served is not None
        named = dict(zip(item.outputs, outputs, strict=True))
        self._count(lease.servable, item, timing)
        self._end(Prediction(named, served, lease.servable.signature, timing), None)

    def _count(self, runner: Runner, item: Item, timing: Timing) -> None:
        statistics = runner.statistics
        statistics.inference_count += item.rows
        statistics.queue.add(timing.queue_ns)
        statistics.compute_input.add(timing.compute_input_ns)
        statistics.compute_infer.add(timing.compute_infer_ns)
        statistics.compute_output.add(timing.compute_output_ns)

    def _end(self, prediction: Prediction | None, error: BaseException | None) -> None:
        lease, served = self._lease, self.served
        assert lease is not None
        assert served is not None
        statistics = lease.servable.statistics
        took_ns = time.monotonic_ns() - self._started_ns
        if error is None:
            statistics.success.add(took_ns)
            statistics.last_inference_ms = time.time_ns() // 1_000_000
            code = "OK"
        else:
            statistics.fail.add(took_ns)
            code = _code_of(error)
        self._instruments.record(served, code, took_ns)
        lease.release()
        # The item knows this flight: holding on to it would keep the arrays until the garbage collector comes by.
        self._lease = self._item = None
        self._done(prediction, error)  # type: ignore[arg-type]
        if self.on_answered is not None and error is None:
            # After the answer is on its way: the transport writes it in this turn of the loop.
            asyncio.get_running_loop().call_soon(self.on_answered)


def _code_of(error: BaseException) -> str:
    if isinstance(error, TurnoutError):
        return error.reason
    return "CANCELLED" if isinstance(error, asyncio.CancelledError) else "INTERNAL"


def _nobody(prediction: Prediction | None, error: Exception | None) -> None:
    """Nobody waits for this answer any more."""


class Outcome:
    """What became of a query; a future is made only for one that did not end at once."""

    __slots__ = ("_error", "_future", "_prediction", "settled")

    def __init__(self) -> None:
        self.settled = False
        """Whether it is known."""
        self._prediction: Prediction | None = None
        self._error: Exception | None = None
        self._future: asyncio.Future[None] | None = None

    def settle(self, prediction: Prediction | None, error: Exception | None) -> None:
        """Note what became of it; a `Done`."""
        self.settled = True
        self._prediction, self._error = prediction, error
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> None:
        """Wait until it is settled, which it is not yet."""
        self._future = asyncio.get_running_loop().create_future()
        await self._future

    def result(self) -> Prediction:
        """Return the answer, or raise what went wrong; once."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                # Else it would hold this frame, which holds it, and the request with them, as above.
                del error
        assert self._prediction is not None
        return self._prediction
