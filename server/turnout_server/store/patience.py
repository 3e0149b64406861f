"""Reading a disk that may hang: in threads of its own, which are waited for so long only, and left behind then."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from turnout_server.store.blobs import Blob, Blobs, Entry
from turnout_server.vocabulary.errors import StoreError

T = TypeVar("T")

READ_S = 5.0
"""How long a small read may take, in seconds."""
MOST_STUCK = 8
"""How many threads may be stuck at once; while they are, nothing else that needs one is read."""


class _Task:
    """Something to be done, and what came of it."""

    __slots__ = ("done", "error", "result", "what", "work")

    def __init__(self, what: Hashable, work: Callable[[], Any]) -> None:
        self.what = what
        self.work = work
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None


class Patience:
    """Threads that wait for a disk in the place of others. Any thread."""

    def __init__(self, within_s: float = READ_S, most_stuck: int = MOST_STUCK) -> None:
        """Make one that has no thread yet."""
        self._within_s = within_s
        self._most_stuck = most_stuck
        self._lock = threading.Lock()
        self._free: list[queue.SimpleQueue[_Task]] = []
        self._stuck: set[Hashable] = set()

    def do(self, what: Hashable, work: Callable[[], T]) -> T:
        """Return what *work* returns, or raise what it raises.

        Raises:
            StoreError: it took too long; or the same is still being waited for, or too much else, since an earlier
                time. What it returns later is lost.
        """
        with self._lock:
            if what in self._stuck or len(self._stuck) >= self._most_stuck:
                raise StoreError(f"cannot read {what}: the disk does not answer")
            hands = self._free.pop() if self._free else None
        task = _Task(what, work)
        if hands is None:
            hands = queue.SimpleQueue()
            threading.Thread(target=self._help, args=[hands], name="disk", daemon=True).start()
        hands.put(task)
        if not task.done.wait(self._within_s):
            with self._lock:
                if not task.done.is_set():
                    self._stuck.add(what)
                    raise StoreError(f"cannot read {what}: the disk has not answered for {self._within_s:g} s")
        if task.error is not None:
            raise task.error
        result: T = task.result
        return result

    def _help(self, hands: queue.SimpleQueue[_Task]) -> None:
        while True:
            task = hands.get()
            try:
                task.result = task.work()
            except BaseException as error:
                task.error = error
            with self._lock:
                self._stuck.discard(task.what)
                self._free.append(hands)
                task.done.set()
            del task  # what it holds is not kept until the next one


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
        return self._patience.do(key, lambda: self._blobs.get(key))

    def list(self, folder: str, marker: str = "") -> tuple[Entry, ...] | None:
        """Return what is directly in *folder*."""
        return self._patience.do(folder, lambda: self._blobs.list(folder, marker))
