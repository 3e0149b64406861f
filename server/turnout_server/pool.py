"""Threads for what may take long: as many as are needed at once, and who has had nothing to do for a while goes."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from functools import partial
from itertools import count
from typing import Any, NamedTuple, ParamSpec, TypeVar

import structlog

from turnout_server import ends

_log = structlog.get_logger("turnout.pool")

P = ParamSpec("P")
T = TypeVar("T")

KEEP_S = 3.0
"""How long a thread that has nothing to do is kept, in seconds: longer than until the next poll of the store."""


class _Work(NamedTuple):
    """Something to be done, and who hears of it."""

    call: Callable[[], Any]
    future: Future[Any]


_Hands = queue.SimpleQueue[_Work | None]
"""Where a thread that has nothing to do is given something; None when it is to go."""


class Pool(Executor):
    """An executor whose threads are left behind at the end where they are stuck. Any thread.

    Who became free last is taken first, so that those a busy moment needed have nothing to do after it, and go.
    """

    def __init__(
        self,
        most: int,
        name: str,
        initializer: Callable[[], None] = lambda: None,
        *,
        loses_nothing: bool = False,
        keep_s: float = KEEP_S,
    ) -> None:
        """Make one of at most *most* threads, each of which calls *initializer* first.

        Args:
            most: how many threads.
            name: what theirs begin with.
            initializer: called by each of them; raises nothing.
            loses_nothing: nobody misses what one of them is at when the process ends.
            keep_s: how long a thread that has nothing to do is kept, in seconds.
        """
        self._most = most
        self._name = name
        self._initializer = initializer
        self._loses_nothing = loses_nothing
        self._keep_s = keep_s
        self._numbers = count()
        self._lock = threading.Lock()
        self._crew: list[threading.Thread] = []
        self._free: list[_Hands] = []
        self._waiting: deque[_Work] = deque()
        self._is_over = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have *fn* called in a thread.

        Raises:
            RuntimeError: the pool is over, or there is no thread and none can be started.
        """
        work = _Work(partial(fn, *args, **kwargs), Future[T]())
        with self._lock:
            if self._is_over:
                raise RuntimeError(f"cannot use the threads of {self._name} after their end")
            if self._free:
                self._free.pop().put(work)
            elif len(self._crew) < self._most:
                self._begin(work)
            else:
                self._waiting.append(work)
        return work.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads; where told to wait, for `PATIENCE_S` seconds, and say what had to be left behind."""
        with self._lock:
            self._is_over = True
            cancelled = [*self._waiting] if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
            while self._free:
                self._free.pop().put(None)
            crew = [*self._crew]
        for work in cancelled:
            work.future.cancel()
        if not wait:
            return
        due = time.monotonic() + ends.PATIENCE_S
        for thread in crew:
            thread.join(max(due - time.monotonic(), 0.0))
        doing = ends.what_threads_do(crew)
        if doing:
            _log.error("what does not end is left behind", doing=doing, waited_s=ends.PATIENCE_S)

    def _begin(self, work: _Work) -> None:
        thread = threading.Thread(target=self._serve, args=[[work]], name=f"{self._name}_{next(self._numbers)}")
        self._crew.append(thread)
        try:
            thread.start()
        except RuntimeError:
            self._crew.remove(thread)
            if not self._crew:
                raise
            self._waiting.append(work)

    def _serve(self, first: list[_Work]) -> None:
        with ends.losing_nothing() if self._loses_nothing else nullcontext():
            self._do_all(first)

    def _do_all(self, first: list[_Work]) -> None:
        self._initializer()
        hands: _Hands = queue.SimpleQueue()
        work: _Work | None = first.pop()
        while work is not None:
            tell = _done(work)
            work = self._next(hands)
            tell()  # by now who hears of it, and has something else to do at once, finds this thread free
            del tell  # what came of it is not kept until the next one
            work = work or self._given(hands)

    def _next(self, hands: _Hands) -> _Work | None:
        """Return what waits for a thread; where nothing does, *hands* are free, or told to go."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._is_over:
                hands.put(None)
            else:
                self._free.append(hands)
        return None

    def _given(self, hands: _Hands) -> _Work | None:
        """Return what free hands are given; None when their thread is to go."""
        try:
            return hands.get(timeout=self._keep_s)
        except queue.Empty:
            pass
        with self._lock:
            if hands in self._free:
                self._free.remove(hands)
                self._crew.remove(threading.current_thread())
                return None
        return hands.get()  # they were given something at the last moment


def _done(work: _Work) -> Callable[[], None]:
    """Do it; return what tells who waits for it."""
    call, future = work
    if not future.set_running_or_notify_cancel():
        return lambda: None
    try:
        return partial(future.set_result, call())
    except BaseException as error:  # whatever it is, who waits for it hears of it
        tell = partial(future.set_exception, error)
        del work, call, future  # the error knows this frame, which would keep them
        return tell
