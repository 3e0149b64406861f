"""Goes on with a coroutine that was begun by hand, without making a task of it.

A task costs several microseconds, and begins in the next turn of the loop. Most calls end in their first step; this is
for the others. It can do what `rpc.door.QUICK` says: wait for futures, and be cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

Ended = Callable[[bytes | None, BaseException | None], None]
"""Told once what the coroutine returned, or what it raised."""


class Stepper:
    """A coroutine that is under way."""

    __slots__ = ("_cancelled", "_context", "_coroutine", "_ended", "_loop", "_waits_for")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, bytes],
        context: Context,
        yielded: Any,
        ended: Ended,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Go on with *coroutine*, which has yielded *yielded* in its first step, in *context*."""
        self._coroutine = coroutine
        self._context = context
        self._ended = ended
        self._loop = loop
        self._cancelled = False
        self._waits_for: asyncio.Future[Any] | None = None
        self._wait(yielded)

    def cancel(self) -> None:
        """Raise CancelledError in the coroutine, as `asyncio.Task.cancel` does."""
        if self._waits_for is None or not self._waits_for.cancel():
            self._cancelled = True

    def _wait(self, yielded: Any) -> None:
        if yielded is None:  # asyncio.sleep(0)
            self._loop.call_soon(self._step, context=self._context)
            return
        # What awaits a future, yields it and says so; see `asyncio.Future.__await__`.
        yielded._asyncio_future_blocking = False
        self._waits_for = yielded
        yielded.add_done_callback(self._step, context=self._context)
        if self._cancelled and yielded.cancel():
            self._cancelled = False

    def _step(self, future: asyncio.Future[Any] | None = None) -> None:
        self._waits_for = None
        try:
            if self._cancelled:
                self._cancelled = False
                yielded = self._coroutine.throw(asyncio.CancelledError())
            else:
                # A future that failed raises that by itself, in the coroutine.
                yielded = self._coroutine.send(None)
        except StopIteration as end:
            self._ended(end.value, None)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._ended(None, error)
        else:
            self._wait(yielded)
