"""How the process ends although something in it never does: a run, a load, a disk.

Python waits for its threads before it leaves, and a thread that is stuck in native code or in the kernel cannot be
ended. So pools wait for theirs a short while only, and who leaves then leaves hard.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from weakref import WeakSet

import structlog

_log = structlog.get_logger("turnout.ends")

STUCK_CODE = 70
"""What the process exits with where something had to be left behind that somebody may miss; sysexits.h calls it
EX_SOFTWARE."""
PATIENCE_S = 1.0
"""How long each is waited for at the end, in seconds: loads, unloads, and a pool's threads."""
LEAVING_S = 25.0
"""How long after the grace period the process is gone, whatever it is at, in seconds.

One after the other answers that are still being read have 5, comparing shadows 2, the journal 6, loads and unloads 3,
runs 1, telemetry 6 and looks at the store 1. A test adds them up.
"""
_HARDER_S = 2.0
"""How much later it goes without a word, should Python's own lock not be had."""
_losing_nothing: WeakSet[threading.Thread] = WeakSet()
_OURS = f"{os.sep}turnout_server{os.sep}"


def what_threads_do(threads: list[threading.Thread]) -> list[str]:
    """Return one line for each of *threads* that lives: its name, and where of our code it is."""
    frames = sys._current_frames()
    return [f"{each.name}: {_place(frames.get(each.ident or 0))}" for each in threads if each.is_alive()]


def left_behind() -> list[threading.Thread]:
    """Return the threads, apart from this one, that Python would wait for before it leaves."""
    return [each for each in threading.enumerate() if not each.daemon and each is not threading.current_thread()]


@contextmanager
def losing_nothing() -> Iterator[None]:
    """Say that nobody misses what this thread is at, should the process end meanwhile."""
    thread = threading.current_thread()
    _losing_nothing.add(thread)
    try:
        yield
    finally:
        _losing_nothing.discard(thread)


def code_for(left: Iterable[threading.Thread]) -> int:
    """Return what the process exits with where it leaves those behind: 0 where nothing is lost by that."""
    return 0 if all(each in _losing_nothing for each in left) else STUCK_CODE


class Departure:
    """Sees to it that the process is gone in time. Any thread."""

    def __init__(self, leave: Callable[[int], object], flush: Callable[[float], object]) -> None:
        """Make one that has not begun.

        Args:
            leave: ends the process, such as `os._exit`.
            flush: writes the log, within so many seconds.
        """
        self._leave = leave
        self._flush = flush
        self._due = float("inf")
        self._changed = threading.Condition()
        self._is_over = False
        self._nowhere = Path(os.devnull).open("w")  # noqa: SIM115 - until the end
        self._thread: threading.Thread | None = None

    def begin(self, within_s: float) -> None:
        """See to it that the process is gone within so many seconds; of several calls the soonest counts."""
        with self._changed:
            due = time.monotonic() + within_s
            if due >= self._due:
                return
            self._due = due
            # That thread is in C and needs no lock of Python's; what it would write must not hold it up either.
            faulthandler.dump_traceback_later(max(within_s, 0.0) + _HARDER_S, exit=True, file=self._nowhere)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="departure", daemon=True)
                self._thread.start()

    def over(self) -> None:
        """Nothing is in the way any more."""
        with self._changed:
            self._is_over = True
            faulthandler.cancel_dump_traceback_later()
            self._nowhere.close()
            self._changed.notify_all()

    def _watch(self) -> None:
        with self._changed:
            while (left := self._due - time.monotonic()) > 0 and not self._is_over:
                self._changed.wait(min(left, threading.TIMEOUT_MAX))
            if self._is_over:
                return
        threads = [one for one in threading.enumerate() if one is not threading.current_thread()]
        busy = [line for line in what_threads_do(threads) if not line.endswith(_IDLE)]
        _log.error("the process does not end; it leaves all the same", doing=busy)
        self._flush(1.0)
        self._leave(STUCK_CODE)


@contextmanager
def heeding(told: Callable[[], None], numbers: tuple[signal.Signals, ...]) -> Iterator[None]:
    """Call *told*, in a thread, whenever one of the signals *numbers* comes; from the main thread only.

    The kernel's word goes to that thread directly: it comes also while the event loop is stuck in a run.
    """
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    listened = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        while came := ours.recv(1):
            if came[0] in numbers:
                told()

    thread = threading.Thread(target=listen, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(listened)
        for number, handler in before.items():
            signal.signal(number, handler)
        theirs.close()
        thread.join()
        ours.close()


_IDLE = "(idle)"


def _place(frame: FrameType | None) -> str:
    innermost = frame
    while frame is not None and _OURS not in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None or innermost is None:
        return _IDLE
    code = frame.f_code
    return f"{code.co_name} ({code.co_filename.rpartition(_OURS)[2]}:{frame.f_lineno})"
