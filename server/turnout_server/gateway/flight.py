"""One query under way: from the lease on a version to the answer, and to the record of its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from turnout_server.execution.measures import outputs_wanted
from turnout_server.execution.runner import Runner
from turnout_server.gateway.records import Records
from turnout_server.scheduling.item import Item, level_of
from turnout_server.serving.harness import Lease
from turnout_server.tasks.features import Packed
from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.errors import DeadlineExpiredError, TaskMismatchError, TurnoutError
from turnout_server.vocabulary.query import Prediction, Query
from turnout_server.vocabulary.record import CANCELLED, OK, Record, Timing, code_of
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Array

Done = Callable[[Prediction | None, Exception | None], None]
"""Told what became of a query: the answer, or what went wrong."""
Answered = Callable[[Prediction, Record], None]
"""Told of an answer after it is on its way."""


class Flight:
    """One query under way."""

    __slots__ = (
        "_done",
        "_item",
        "_lease",
        "_query",
        "_records",
        "_started_ns",
        "decision",
        "on_answered",
        "record",
    )

    def __init__(self, records: Records, query: Query, done: Done, started_ns: int) -> None:
        self._records = records
        self._query = query
        self._done = done
        self._started_ns = started_ns
        self._lease: Lease[Runner] | None = None
        self._item: Item | None = None
        self.decision: Decision | None = None
        """Who answers; None until that is known."""
        self.record: Record | None = None
        """The query's end; None while it is under way."""
        self.on_answered: Answered | None = None

    def refused(self, error: TurnoutError, route: str = "") -> None:
        """End before a version was leased; *route* is the one that was asked, where there is no decision."""
        self._settle(error.reason, route=route)
        self._done(None, error)

    def depart(self, lease: Lease[Runner], span: object = None) -> None:
        """Prepare the inputs and hand them to the version's runner."""
        self._lease = lease
        runner = lease.servable
        started = time.monotonic_ns()
        rows = 0
        try:
            query = self._query
            if self.decision is not None and not self.decision.route:
                _check_task(query, runner)
            priority = level_of(query.priority)
            # Before anything is spent on the tensors of a request for which there is no room.
            runner.check_wait(priority)
            outputs = outputs_wanted(runner.output_names, query.outputs) if query.outputs else runner.output_names
            inputs = query.prepare(runner.signature)
            rows = runner.rows_of(inputs)
            if isinstance(inputs, Packed):
                runner.note_features(rows, inputs.notes)
            input_ns = time.monotonic_ns() - started
            item = runner.submit(
                inputs, outputs, query.deadline, self._ran, rows=rows, priority=priority, input_ns=input_ns, span=span
            )
        except Exception as error:
            self._settle(code_of(error), rows=rows)
            self._let_go()
            self._done(None, error)
        else:
            if self.record is None:
                self._item = item

    def cancel(self) -> None:
        """Give up: nobody is told. What runs in a thread already is ended, if nobody else waits for it.

        The caller has gone, or the deadline has passed: transports cancel calls for both.
        """
        self._done = _nobody
        self.on_answered = None
        item = self._item
        if self.record is not None or item is None:
            return
        deadline = self._query.deadline
        expired = deadline is not None and deadline <= time.monotonic()
        self._settle(DeadlineExpiredError.reason if expired else CANCELLED, rows=item.rows)
        assert self._lease is not None
        if self._lease.servable.cancel(item):
            self._let_go()

    def _ran(self, item: Item, outputs: list[Array] | None, error: Exception | None, timing: Timing) -> None:
        lease, decision = self._lease, self.decision
        assert lease is not None
        assert decision is not None
        if self.record is not None:  # it was cancelled while it ran
            self._let_go()
            return
        if outputs is None:
            assert error is not None
            self._settle(code_of(error), rows=item.rows, timing=timing)
            self._let_go()
            self._done(None, error)
            return
        record = self._settle(OK, rows=item.rows, timing=timing)
        named = dict(zip(item.outputs, outputs, strict=True))
        prediction = Prediction(named, decision, record.request_id, lease.servable.signature, timing)
        self._let_go()
        self._done(prediction, None)
        if self.on_answered is not None:
            # After the answer is on its way: the transport writes it in this turn of the loop.
            asyncio.get_running_loop().call_soon(self.on_answered, prediction, record)

    def _settle(self, code: str, *, route: str = "", rows: int = 0, timing: Timing | None = None) -> Record:
        record = self.record = self._records.ended(
            self._query, self.decision, code, self._started_ns, route=route, rows=rows, timing=timing
        )
        return record

    def _let_go(self) -> None:
        lease = self._lease
        assert lease is not None
        lease.release()
        # The item knows this flight: holding on to it would keep the arrays until the garbage collector comes by.
        self._lease = self._item = None


def _check_task(query: Query, runner: Runner) -> None:
    """Refuse what a typed service asks of a model that was named outright; a route's task is checked by routing."""
    if query.task is not None and runner.manifest.task != query.task:
        task = runner.manifest.task
        raise TaskMismatchError(query.name, "" if task is Task.TENSORS else task, query.task)


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
