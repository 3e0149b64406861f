"""Which request runs next: a bounded queue as a state machine, with the clock handed in.

Requests run one by one, first come first served. Batches are made of one request for now; everything around this module
already speaks of batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from turnout_server.errors import DeadlineExpiredError, TurnoutError
from turnout_server.scheduling.admission import Admission
from turnout_server.tensors import Arrays


@dataclass(slots=True, eq=False)
class Item:
    """One request on its way through the queue."""

    inputs: Arrays
    outputs: tuple[str, ...]
    rows: int
    nbytes: int
    deadline: float | None
    """Seconds, on the clock that `offer` and `next_batch` are given."""
    done: Callable[..., None]
    """The driver's: what to call when it has run or will not run."""
    size: int = 1
    """What its run time grows with: its rows, or more where other axes are free too."""
    inline: bool = True
    """Whether it may run on the event loop."""
    offered_ns: int = 0
    """When it was offered, on the driver's clock."""


@dataclass(slots=True, eq=False)
class Batch:
    """Requests that run together."""

    items: list[Item] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows of all its requests."""
        return sum(item.rows for item in self.items)

    @property
    def size(self) -> int:
        """The size of all its requests."""
        return sum(item.size for item in self.items)

    @property
    def inline(self) -> bool:
        """Whether all its requests may run on the event loop."""
        return all(item.inline for item in self.items)


class Batcher:
    """The queue of one version."""

    __slots__ = ("_admission", "_queue", "parallel", "running")

    def __init__(self, admission: Admission, parallel: int = 1) -> None:
        """Make an empty queue; at most *parallel* batches run at once."""
        self._admission = admission
        self._queue: deque[Item] = deque()
        self.parallel = parallel
        self.running = 0

    def __len__(self) -> int:
        """Return how many requests wait."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._queue and not self.running

    @property
    def busy(self) -> bool:
        """Whether one more request would have to wait."""
        return bool(self._queue) or self.running >= self.parallel

    def offer(self, item: Item, now: float) -> None:
        """Take *item* in.

        Raises:
            DeadlineExpiredError: its deadline has passed.
            QueueFullError: there is no room.
        """
        if item.deadline is not None and item.deadline <= now:
            raise DeadlineExpiredError
        # What can run at once does not wait, so the bounds on waiting are not for it.
        if self.busy:
            self._admission.check(item.rows, item.nbytes)
        self._admission.enter(item.rows, item.nbytes)
        self._queue.append(item)

    def next_batch(self, now: float) -> tuple[Batch | None, list[tuple[Item, TurnoutError]]]:
        """Return the batch to run now, if any, and the requests that expired while they waited."""
        expired: list[tuple[Item, TurnoutError]] = []
        if self.running >= self.parallel:
            return None, expired
        while self._queue:
            item = self._queue.popleft()
            self._admission.leave(item.rows, item.nbytes)
            if item.deadline is not None and item.deadline <= now:
                expired.append((item, DeadlineExpiredError()))
                continue
            self.running += 1
            return Batch([item]), expired
        return None, expired

    def finish(self, batch: Batch) -> None:
        """Note that *batch* has run."""
        self.running -= 1

    def cancel(self, item: Item) -> bool:
        """Drop *item*; return False if it no longer waits."""
        try:
            self._queue.remove(item)
        except ValueError:
            return False
        self._admission.leave(item.rows, item.nbytes)
        return True
