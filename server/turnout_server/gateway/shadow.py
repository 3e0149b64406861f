"""Compares the answers of copies with those that callers got, in a thread of its own.

Serving comes first: a pair that finds the queue full is refused at once, and the event loop does no more for a pair
than to put it there and to pass the result on.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import numpy as np
import structlog

from turnout_server.gateway.worst_pairs import WorstPairs
from turnout_server.tasks.comparison import MAX_ELEMENTS, TOO_LARGE, badness, compare, elements
from turnout_server.tasks.summary import summary
from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.record import Comparison, Record
from turnout_server.vocabulary.tensors import Array, Arrays

BUSY = "busy"
"""Too many pairs wait already."""
CLOSING = "closing"
"""The gateway is about to end."""
FAILED = "failed"
"""The comparison itself failed; the log says how."""
MAX_PAIRS = 64
"""Pairs that wait or are being compared."""
MAX_BYTES = 64 * 1024 * 1024
"""What their arrays may come to."""
MAX_TEXTS = 10_000
"""Texts in one pair: they have to be measured one by one, on the event loop's thread."""
PATIENCE_S = 2.0
"""How long closing waits for the pair that is being compared."""

_MUCH_LARGER = 2
"""So many times as large as an array may be what it keeps in memory."""
_TEXT_BYTES = 64
"""What a text takes besides its characters."""

_log = structlog.get_logger("turnout.shadow")

Compared = Callable[[Comparison], None]
"""Told, on the event loop's thread, how the two answers of a pair differ."""


class Answers(Protocol):
    """A request's answer and its copy's, as mirrors make them."""

    @property
    def task(self) -> str:
        """The route's."""

    @property
    def original(self) -> Arrays:
        """The answer that the caller got."""

    @property
    def copy(self) -> Arrays:
        """The copy's."""

    @property
    def record(self) -> Record:
        """The original's."""

    @property
    def copied(self) -> Decision:
        """The copy's."""


class _Job(NamedTuple):
    task: str
    original: Arrays
    copy: Arrays
    series: tuple[str, str, int]
    """Route, model and version."""
    at_ns: int
    bytes: int
    then: Compared


class Comparer:
    """The pairs of one process. All methods belong to the event loop's thread."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Begin with none; entering it starts its thread.

        Args:
            call_soon: has a function called on the event loop's thread soon, and may be called on any thread: a loop's
                `call_soon_threadsafe`. It may raise `RuntimeError` when the loop is closed.
        """
        self._call_soon = call_soon
        self._worst = WorstPairs()
        self._changed = threading.Condition()
        # What follows belongs to whoever holds the condition.
        self._waiting: deque[_Job] = deque()
        self._running: _Job | None = None
        self._done: list[tuple[_Job, Comparison]] = []
        self._bytes = 0
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def __enter__(self) -> Comparer:
        """Start comparing."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End as `close` does."""
        self.close()

    def offer(self, pair: Answers, then: Compared) -> str:
        """Compare *pair* in the thread and call *then* once; return why not, or nothing where it will be.

        Nothing of *then* has been called when this returns.
        """
        size = _size(pair)
        if size is None:
            return TOO_LARGE
        with self._changed:
            if self._is_closing:
                return CLOSING
            pairs = len(self._waiting) + (self._running is not None)
            if pairs >= MAX_PAIRS or self._bytes + size > MAX_BYTES:
                return BUSY
        copied = pair.copied
        job = _Job(
            pair.task,
            _kept(pair.original),
            _kept(pair.copy),
            (copied.route, copied.model, copied.version),
            pair.record.arrived_ns,
            size,
            then,
        )
        with self._changed:
            self._waiting.append(job)
            self._bytes += size
            self._changed.notify()
        return ""

    def close(self) -> None:
        """Take no more pairs, tell whoever waits that it is `CLOSING`, and end the thread.

        Waits at most `PATIENCE_S` for the pair that is being compared. May be called twice.
        """
        with self._changed:
            self._is_closing = True
            dropped = list(self._waiting)
            self._waiting.clear()
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(PATIENCE_S)
        self._deliver()
        with self._changed:
            if self._running is not None:
                dropped.insert(0, self._running)
                self._running = None
            self._bytes = 0
        for job in dropped:
            _tell(job, Comparison(note=CLOSING))

    def _deliver(self) -> None:
        """Pass on all results there are."""
        with self._changed:
            done, self._done = self._done, []
        for job, comparison in done:
            _tell(job, comparison)

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while (job := self._next()) is not None:
            comparison = self._compare(job)
            if self._finished(job, comparison):
                try:
                    self._call_soon(self._deliver)
                except RuntimeError:  # the loop is closed; `close` passes on what is left
                    return

    def _next(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            if not self._waiting:
                return None
            self._running = self._waiting.popleft()
            return self._running

    def _finished(self, job: _Job, comparison: Comparison) -> bool:
        """Keep a result for the event loop; return whether the loop has to be told."""
        with self._changed:
            if self._running is not job:  # closing gave up waiting for it
                return False
            self._running = None
            self._bytes -= job.bytes
            self._done.append((job, comparison))
            return len(self._done) == 1

    def _compare(self, job: _Job) -> Comparison:
        try:
            found = compare(job.task, job.original, job.copy)
            if self._worst.is_shown(job.series, job.at_ns, badness(job.task, found)):
                return shown(job.task, job.original, job.copy, found)
            return found
        except Exception:  # whatever is wrong with one pair, the others are compared
            _log.exception("answers could not be compared", route=job.series[0], model=job.series[1])
            return Comparison(note=FAILED)


def shown(task: str, original: Arrays, copy: Arrays, comparison: Comparison) -> Comparison:
    """Return *comparison* with both answers in short as its note, and the note it had, if it had one, in that."""
    note: dict[str, Any] = {"note": comparison.note} if comparison.note else {}
    note["original"] = json.loads(summary(task, original))
    note["copy"] = json.loads(summary(task, copy))
    return comparison._replace(note=json.dumps(note, separators=(",", ":")))


def _tell(job: _Job, comparison: Comparison) -> None:
    try:
        job.then(comparison)
    except Exception:  # one record's trouble must not keep the others from being made
        _log.exception("a comparison could not be passed on", route=job.series[0], model=job.series[1])


def _size(pair: Answers) -> int | None:
    """Return how many bytes the arrays of *pair* take; None where they are too many to be compared."""
    if elements(pair.original) + elements(pair.copy) > MAX_ELEMENTS:
        return None
    size = texts = 0
    for output in (*pair.original.values(), *pair.copy.values()):
        size += output.nbytes
        if output.dtype == object:
            texts += output.size
            if texts > MAX_TEXTS:
                return None
            size += sum(_TEXT_BYTES + len(text) for text in output.flat)
    return None if size > MAX_BYTES else size


def _kept(outputs: Arrays) -> Arrays:
    """Return *outputs*, copied where keeping them would keep a much larger batch."""
    return {name: output.copy() if _holds_more(output) else output for name, output in outputs.items()}


def _holds_more(array: Array) -> bool:
    base: Any = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    held = base.nbytes if isinstance(base, np.ndarray | memoryview) else len(base) if isinstance(base, bytes) else 0
    return held > _MUCH_LARGER * array.nbytes
