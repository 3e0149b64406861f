"""How late the event loop is: what every call waits before anything else happens to it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from turnout_server.instruments.families import Histogram

EVERY_S = 0.1
"""How often it is measured, in seconds: waking the loop is most of what an idle process does."""


@contextmanager
def watching(loop: asyncio.AbstractEventLoop, lag: Histogram) -> Iterator[None]:
    """Add to *lag*, again and again, the nanoseconds from a moment until the loop did what was asked of it then.

    The moments are a thread's: the loop's own timers go by whole milliseconds, and a small model runs in a tenth of
    one. What a thread takes to wake up, some 0.1 ms, is in the figures.
    """
    stopped = threading.Event()

    def arrived(due: float) -> None:
        lag.add(max(round((time.monotonic() - due) * 1e9), 0))

    def ask() -> None:
        due = time.monotonic() + EVERY_S
        while not stopped.wait(max(due - time.monotonic(), 0.0)):
            try:
                loop.call_soon_threadsafe(arrived, due)
            except RuntimeError:  # the loop is closed
                return
            due = max(due + EVERY_S, time.monotonic())

    thread = threading.Thread(target=ask, name="loop-lag", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
