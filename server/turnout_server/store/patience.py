"""Reading a disk that may hang: in threads of its own, which are waited for so long only, and left behind then.

What a slow disk brings after that is kept for a while for whoever asks for the same again: one that always takes longer
than somebody waits is read all the same.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar

from turnout_server.store.blobs import Blob, Blobs, Entry
from turnout_server.vocabulary.errors import StoreError

T = TypeVar("T")

READ_S = 5.0
"""How long a small read may take, in seconds."""
MOST_STUCK = 8
"""How many threads may be stuck at once; while they are, nothing else that needs one is read."""
MOST_FREE = 4
"""How many threads that have nothing to do are kept for who comes next."""
IDLE_S = 3.0
"""How long each, in seconds. Who became free last is taken first, so that those a busy moment needed go after it."""
KEEP_S = 60.0
"""How long what came too late is kept for the next who asks, in seconds: a look may wait for many others first."""


class Waiting(Protocol):
    """How somebody waits for a disk."""

    def do(
        self,
        what: str,
        work: Callable[[], T],
        key: Hashable = None,
        *,
        more_s: float = 0.0,
        discard: Callable[[T], object] | None = None,
    ) -> T:
        """Return what *work* returns, or raise what it raises; see `Patience.do`."""
        ...


class Endless:
    """Waits for as long as it takes, in the thread that asks; `Waiting`."""

    def do(
        self,
        what: str,
        work: Callable[[], T],
        key: Hashable = None,
        *,
        more_s: float = 0.0,
        discard: Callable[[T], object] | None = None,
    ) -> T:
        """Return what *work* returns, or raise what it raises."""
        return work()


class _Task:
    """Something to be done, and what came of it."""

    __slots__ = ("discard", "done", "ended", "error", "key", "result", "work")

    def __init__(self, key: Hashable, work: Callable[[], Any], discard: Callable[[Any], object] | None) -> None:
        self.key = key
        self.work: Callable[[], Any] | None = work
        self.discard = discard
        self.ended = 0.0
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def perform(self) -> None:
        assert self.work is not None
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error
        self.work = None  # what it holds is not kept

    def let_go(self) -> None:
        """Discard what it has brought."""
        if self.discard is not None and self.error is None:
            self.discard(self.result)
        self.result = None

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


class Patience:
    """Threads that wait for a disk in the place of others. Any thread."""

    def __init__(
        self,
        within_s: float = READ_S,
        most_stuck: int = MOST_STUCK,
        clock: Callable[[], float] = time.monotonic,
        idle_s: float = IDLE_S,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        """Make one that has no thread yet.

        Args:
            within_s: how long something may take, in seconds.
            most_stuck: how many threads may be stuck at once.
            clock: in seconds.
            idle_s: how long a thread that has nothing to do is kept, in seconds.
            begin: called by each thread first; raises nothing.
        """
        self._begin = begin
        self._within_s = within_s
        self._idle_s = idle_s
        self._most_stuck = most_stuck
        self._lock = threading.Lock()
        self._free: list[queue.SimpleQueue[_Task]] = []
        self._clock = clock
        self._stuck: set[_Task] = set()
        self._late: dict[Hashable, _Task] = {}

    @property
    def stuck(self) -> int:
        """How many threads are at what took too long."""
        return len(self._stuck)

    def do(
        self,
        what: str,
        work: Callable[[], T],
        key: Hashable = None,
        *,
        more_s: float = 0.0,
        discard: Callable[[T], object] | None = None,
    ) -> T:
        """Return what *work* returns, or raise what it raises; or what it did when it took too long the last time.

        Args:
            what: what is read, for people.
            work: reads it.
            key: by which the same work is known again; *what* itself unless given.
            more_s: how much longer than all else it may take, in seconds.
            discard: given what it returns when it took too long, in place of the next who asks; raises nothing.

        Raises:
            StoreError: it took too long; or the same is still being waited for, or too much else, since an earlier
                time. What it returns within `KEEP_S` after that, the next one gets who asks for it.
        """
        task = _Task(what if key is None else key, work, discard)
        patience_s = self._within_s + more_s
        with self._lock:
            late = self._late_one(task.key)
            is_awaited = any(one.key == task.key for one in self._stuck)
            if late is None and (is_awaited or len(self._stuck) >= self._most_stuck):
                raise StoreError(f"cannot read {what}: the disk does not answer")
            hands = self._free.pop() if self._free and late is None else None
        if late is not None:
            known: T = late.outcome()
            return known
        if hands is None:
            hands = queue.SimpleQueue()
            threading.Thread(target=self._help, args=[hands], name="disk", daemon=True).start()
        hands.put(task)
        if not task.done.wait(patience_s):
            with self._lock:
                if not task.done.is_set():
                    self._stuck.add(task)
                    raise StoreError(f"cannot read {what}: the disk has not answered for {round(patience_s, 1):g} s")
        result: T = task.outcome()
        return result

    def _late_one(self, key: Hashable) -> _Task | None:
        """Return what came too late for who has asked, if that is not too long ago."""
        oldest = self._clock() - KEEP_S
        self._late = {key: one for key, one in self._late.items() if one.ended > oldest}
        return self._late.pop(key, None)

    def _help(self, hands: queue.SimpleQueue[_Task]) -> None:
        self._begin()
        while (task := self._given(hands)) is not None:
            task.perform()
            with self._lock:
                is_unwanted = self._note_late(task) and task.discard is not None
                is_needed = not is_unwanted and len(self._free) < MOST_FREE
                if is_needed:
                    self._free.append(hands)
                task.done.set()
            if is_unwanted:
                task.let_go()
            if not is_needed:
                return
            del task  # what it brought is not kept until the next one

    def _note_late(self, task: _Task) -> bool:
        """Return whether nobody waits for *task* any more; keep what it brought, if it may be. The lock is held."""
        if task not in self._stuck:
            return False
        self._stuck.remove(task)
        task.ended = self._clock()
        if task.discard is None:
            self._late[task.key] = task
        return True

    def _given(self, hands: queue.SimpleQueue[_Task]) -> _Task | None:
        """Return what a thread is given to do; None when it has been free for long enough."""
        try:
            return hands.get(timeout=self._idle_s)
        except queue.Empty:
            pass
        with self._lock:
            if hands in self._free:
                self._free.remove(hands)
                return None
        return hands.get()  # it was chosen at the last moment


class PatientBlobs:
    """The reading of small blobs, with patience."""

    def __init__(self, blobs: Blobs, patience: Patience) -> None:
        """Read from *blobs*."""
        self._patience = patience
        self._blobs = blobs

    def check(self) -> None:
        """Raise `StoreError` where the place is not there or cannot be read."""
        self._patience.do("the store", self._blobs.check)

    def get(self, key: str) -> Blob | None:
        """Return the blob under *key* whole, None where there is none."""
        return self._patience.do(key, lambda: self._blobs.get(key), ("get", key))

    def list(self, folder: str, marker: str = "") -> tuple[Entry, ...] | None:
        """Return what is directly in *folder*."""
        return self._patience.do(folder, lambda: self._blobs.list(folder, marker), ("list", folder, marker))
