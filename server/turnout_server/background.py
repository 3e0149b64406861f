"""Tasks beside the calls: those that are begun again where they end, and those of which the first one counts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import structlog

_log = structlog.get_logger("turnout.app")
Work = Callable[[], Coroutine[Any, Any, None]]
_RESTART_AFTER_S = 1.0
"""How long a task that has ended by an error rests before it is begun again, in seconds."""


@contextlib.asynccontextmanager
async def in_background(name: str, work: Work, on_restart: Callable[[str], None]) -> AsyncIterator[None]:
    """Keep *work* going, see `kept_going`, until the context is left."""
    task = asyncio.create_task(kept_going(name, work, on_restart))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def kept_going(
    name: str, work: Work, on_restart: Callable[[str], None], rest_s: float = _RESTART_AFTER_S
) -> None:
    """Do *work*, which should not end, until cancelled: what ends by an error shows, and is begun again."""
    while True:
        try:
            await work()
        except Exception:
            _log.exception("a task ended by an error; it is started again", task=name)
        else:
            _log.error("a task ended; it is started again", task=name)
        on_restart(name)
        await asyncio.sleep(rest_s)


async def first_of(*works: Coroutine[Any, Any, Any]) -> None:
    """Wait until one of them is done, and raise what it raised; end the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
