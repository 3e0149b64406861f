"""Natural batching: while one batch runs, requests wait; when it ends, those that go together are the next one.

No timer and no added delay: an idle server runs a lone request at once, a busy one batches by itself. A state machine
with the clock handed in; whoever drives it says when something ends and whether a worker is free.
"""

from __future__ import annotations

from typing import NamedTuple

from turnout_server.scheduling.admission import Admission, Bounded
from turnout_server.scheduling.cost import CostModel
from turnout_server.scheduling.item import LOWEST_PRIORITY, Batch, Item
from turnout_server.scheduling.waiting import Waiting
from turnout_server.vocabulary.errors import DeadlineExpiredError, DeadlineUnreachableError, TurnoutError

_SMOOTHING = 0.1
_STRONGEST = 0.5
_NS = 1e9


class Rules(NamedTuple):
    """How one version's requests are put together."""

    max_rows: int = 64
    """Rows of a batch; a request with more runs alone."""
    max_delay_s: float = 0.0
    """How long a request may be kept waiting for company, though it could run."""
    inline_below_ns: float = 200_000.0
    """What is expected to run for less runs on the event loop."""
    parallel: int = 1
    """How many batches may run at once: for the first estimate of waits, before any is measured."""


class Choice(NamedTuple):
    """What is to be done now."""

    batch: Batch | None
    """To be run."""
    dropped: list[tuple[Item, TurnoutError]]
    """To be told that they will not run."""
    blocked: bool = False
    """Whether there is a batch for which a worker has to be free first."""
    cost_ns: float = 0.0
    """How long that one should run, in nanoseconds."""
    wake_at: float | None = None
    """When to ask again even if nothing happens, in seconds."""


_NONE: list[tuple[Item, TurnoutError]] = []
_NOTHING = Choice(None, _NONE)


class Batcher:
    """The queue of one version."""

    __slots__ = ("_admission", "_costs", "_pace_mark", "_pace_s", "_rules", "running", "waiting")

    def __init__(self, admission: Admission, costs: CostModel, rules: Rules) -> None:
        """Make an empty queue.

        Args:
            admission: decides who may wait.
            costs: says how long a run will take.
            rules: how requests are put together.
        """
        self._admission = admission
        self._costs = costs
        self._rules = rules
        self.waiting = Waiting()
        self._pace_s = 0.0
        """Seconds that a waiting row has taken lately, from one batch's end to the next; 0 while unknown."""
        self._pace_mark: float | None = None
        """When the last batch ended, or the queue began to form; None without a queue."""
        self.running = 0
        """Batches that run."""

    def __len__(self) -> int:
        """Return how many requests wait."""
        return self.waiting.count

    @property
    def admission(self) -> Admission:
        """Decides who may wait."""
        return self._admission

    @property
    def room(self) -> Bounded:
        """What waits for the version, here and in other queues of it."""
        return self._admission.own

    @property
    def rules(self) -> Rules:
        """How requests are put together."""
        return self._rules

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self.running and not self.waiting.count

    @property
    def waiting_everywhere(self) -> int:
        """How many requests wait for any version."""
        return self._admission.total.count

    def is_cheap(self, size: int) -> bool:
        """Say whether a run of *size* should be short enough for the event loop."""
        return self._costs.estimate(size) < self._rules.inline_below_ns

    def wait_s(self, level: int, now: float) -> float:
        """Return how long a request of priority *level* would have to wait if it came *now*, in seconds, as estimated.

        That is by the pace so far, which is believed as far as whoever is next has waited already, or the runs alone
        take: at a burst's beginning it is the pace of small batches, between which many requests are read.
        """
        rows = self.waiting.rows_ahead(level)
        head = self.waiting.head()
        if not rows or head is None:
            return 0.0
        if not self._pace_s:
            return self._runs_s(rows, head)
        by_pace_s = rows * self._pace_s
        stood_s = now - head.offered_ns / _NS
        return by_pace_s if by_pace_s <= stood_s else min(by_pace_s, max(stood_s, self._runs_s(rows, head)))

    def _burst_s(self) -> float:
        """Return how long all that waits would run, in seconds."""
        head = self.waiting.head()
        return 0.0 if head is None else self._runs_s(self.waiting.rows_ahead(LOWEST_PRIORITY), head)

    def _runs_s(self, rows: int, head: Item) -> float:
        """Return how long so many rows would run in batches like the next one, in seconds."""
        together, size = self.waiting.group_of(head)
        most = max(self._rules.max_rows, head.room)
        if together > most:
            together, size = most, max(size * most // together, head.size)
        return self._costs.estimate(size) * max(rows / together, 1.0) / _NS / self._rules.parallel

    def check_wait(self, level: int, now: float) -> None:
        """Refuse a request of which only its priority *level* is known, if there is certainly no room for it.

        Raises:
            QueueFullError: the queue is full already.
        """
        if self.waiting.count or self._admission.own.count:
            self._admission.check(1, 0, self.wait_s(level, now), self._burst_s())

    def at_once(self, item: Item, now: float) -> Batch | None:
        """Return the batch to run on the event loop for a lone request; None where it has to be offered.

        Raises:
            DeadlineExpiredError, DeadlineUnreachableError: as `offer`.
        """
        rules = self._rules
        if self.running or self.waiting.count or rules.max_delay_s or not item.inline:
            return None
        if self._costs.estimate(item.size) >= rules.inline_below_ns:
            return None
        if item.deadline is not None:
            self._check_deadline(item, now, 0.0)
        self.running += 1
        return Batch([item])

    def offer(self, item: Item, now: float) -> None:
        """Take *item* in.

        Raises:
            DeadlineExpiredError: its deadline has passed.
            DeadlineUnreachableError: it will have passed before its run is over, by the current estimate.
            QueueFullError: there is no room.
        """
        # What can run at once does not wait, so the bounds on waiting are not for it.
        busy = self.running or self.waiting.count
        wait_s = self.wait_s(item.priority, now) if busy else 0.0
        if item.deadline is not None:
            self._check_deadline(item, now, wait_s)
        if busy or self._admission.own.count:
            self._admission.admit(item.room, item.nbytes, wait_s, self._burst_s())
        else:
            self._admission.enter(item.room, item.nbytes)
        if busy and self._pace_mark is None:
            self._pace_mark = now
        self.waiting.add(item, now)

    def next_batch(self, now: float, worker_free: bool) -> Choice:
        """Decide what to run now; a batch that is returned counts as running until `finish`.

        Args:
            now: in seconds.
            worker_free: whether a batch that is too long for the event loop could start.
        """
        waiting, rules = self.waiting, self._rules
        dropped: list[tuple[Item, TurnoutError]] = []
        while (head := waiting.head()) is not None and self._is_too_late(head, now):
            self._drop(head, dropped)
        if head is None:
            return Choice(None, dropped) if dropped else _NOTHING
        rows, size = waiting.group_of(head)
        if rows > rules.max_rows:
            size = max(size * rules.max_rows // rows, head.size)
        elif rules.max_delay_s and head.key is not None and rows < rules.max_rows:
            due = head.offered_ns / _NS + rules.max_delay_s
            if now < due:
                return Choice(None, dropped, wake_at=due)
        cost_ns = self._costs.estimate(size)
        inline = head.inline and cost_ns < rules.inline_below_ns
        if not inline and not worker_free:
            return Choice(None, dropped, blocked=True, cost_ns=cost_ns)
        self.running += 1
        return Choice(Batch(self._taken(head, now, dropped), inline), dropped)

    def finish(self, batch: Batch, now: float) -> None:
        """Note that *batch* has run."""
        self.running -= 1
        if self._pace_mark is not None:
            rows = sum(item.room for item in batch.items)
            pace = (now - self._pace_mark) / rows
            # What is to be known is the pace of the batches to come, which are as large as the queue makes them.
            weight = min(_SMOOTHING * rows, _STRONGEST) if self._pace_s else 1.0
            self._pace_s += (pace - self._pace_s) * weight
            self._pace_mark = now if self.waiting.count else None

    def cancel(self, item: Item) -> bool:
        """Drop *item*; return False if it no longer waits."""
        if not item.waiting:
            return False
        self._leave_for_good(item)
        return True

    def _taken(self, head: Item, now: float, dropped: list[tuple[Item, TurnoutError]]) -> list[Item]:
        """Take *head*, and whoever waits and fits, out of the queue."""
        self._leave(head)
        taken, rows = [head], head.rows
        if head.key is None:
            return taken
        while (mate := self.waiting.first_of(head.key)) is not None and rows + mate.rows <= self._rules.max_rows:
            if self._is_too_late(mate, now):
                self._drop(mate, dropped)
                continue
            self._leave(mate)
            taken.append(mate)
            rows += mate.rows
        return taken

    def _leave(self, item: Item) -> None:
        self.waiting.remove(item)
        self._admission.leave(item.room, item.nbytes)

    def _leave_for_good(self, item: Item) -> None:
        self._leave(item)
        if self.idle:
            self._pace_mark = None  # else the idle time that follows would count as the next batch's

    def _drop(self, item: Item, dropped: list[tuple[Item, TurnoutError]]) -> None:
        self._leave_for_good(item)
        dropped.append((item, DeadlineExpiredError()))

    def _is_too_late(self, item: Item, now: float) -> bool:
        """Say whether even a run as fast as any so far would end after the deadline."""
        return item.deadline is not None and item.deadline <= now + self._costs.least(item.size) / _NS

    def _check_deadline(self, item: Item, now: float, wait_s: float) -> None:
        assert item.deadline is not None
        left_s = item.deadline - now
        if left_s <= 0.0:
            raise DeadlineExpiredError
        # With nobody ahead the best time counts: an estimate may be out of date, and only a run can put it right.
        run_ns = self._costs.estimate(item.size) if wait_s else self._costs.least(item.size)
        if left_s <= wait_s + run_ns / _NS:
            if not wait_s:
                self._costs.doubt(item.size)
            raise DeadlineUnreachableError(left_s, wait_s + run_ns / _NS)
